"""Judges that other processes make, in a module that costs them no test library."""

import os
from dataclasses import dataclass

import numpy as np

from msm.synth.decontaminate import EvalItem
from msm.synth.gates import RowGates
from msm.synth.judge import Judge, Semantics
from msm.synth.meaning import Meaning, unit
from msm.synth.workers import THREADS

ITEM = EvalItem("i-1", "disjoint", ("a zebra", "an okapi"))
GATES = RowGates(min_tokens=4, authored_as="SmolLM")
TABLE = unit(np.random.default_rng(0).standard_normal((128, 16)).astype(np.float32))


def count_words(texts):
    return [len(text.split()) for text in texts]


def letters(texts):
    return [[ord(letter) % 128 for letter in text] for text in texts]


@dataclass(frozen=True)
class Opening:
    meaningful: bool = False
    fault: str = ""

    def open(self) -> Judge:
        if self.fault == "killed":
            os._exit(9)
        if self.fault == "threads":
            raise ValueError(", ".join(os.environ.get(name, "as many as there are") for name in THREADS))
        if self.fault:
            raise ValueError(self.fault)
        return Judge(GATES, (ITEM,), count_words, Semantics(Meaning(TABLE), letters) if self.meaningful else None)
