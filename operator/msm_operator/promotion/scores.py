"""What was measured of versions: scores of committed evaluations, and what the gates make of them.

Reads the store; blocking, for a thread. Neighbours: `checks` named the stages, `msm.evals.gates` judges. Invariant: a score file that is
used has the digest that its manifest records; what is not committed is not guessed. Cost: a manifest and a file an evaluation, once in a
process: both are kept, the latest versions' only.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msm.api.evaldeployment import Score, VersionGate
from msm.errors import IntegrityError
from msm.evals.artifact import SCORES
from msm.evals.gates import judge_version, measured
from msm.evals.scores import ItemScore, parse_row
from msm.plan import Stage
from msm.store import ObjectStore
from msm.store.artifacts import read_manifest
from msm.store.manifest import Manifest
from msm_operator.promotion.observed import Judged

KEPT = 256
MOST_SCORES = 128
"""Rows of the status."""
Items = tuple[ItemScore, ...]


@dataclass(slots=True)
class ScoreShelf:
    """Scores by the fingerprint of the evaluation, the latest used last."""

    _kept: "OrderedDict[str, Items]" = field(default_factory=OrderedDict)

    def get(self, store: ObjectStore, stage: Stage) -> Items | None:
        """Scores of a committed evaluation (none for one that has no items); None while it is not committed.

        Raises:
            IntegrityError: other bytes than were committed; TryAgain: the store does not answer.
        """
        key = f"{store.uri} {stage.fingerprint}"
        if key not in self._kept:
            manifest = read_manifest(store, stage.kind, stage.fingerprint)
            if manifest is None:
                return None
            self._kept[key] = _read(store, manifest)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def _read(store: ObjectStore, manifest: Manifest) -> Items:
    if SCORES not in manifest.files:
        return ()
    where = manifest.key(SCORES)
    data = store.get(where)
    if hashlib.sha256(data).hexdigest() != manifest.files[SCORES].sha256:
        raise IntegrityError(f"{where}: the bytes are not those that were committed; delete the artifact, it is measured again")
    try:
        return tuple(parse_row(json.loads(line))[1] for line in data.decode("utf-8").split("\n") if line.strip())
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{where}: a line is not one of scores ({error})") from error


Measured = Mapping[str, Items]
"""Eval -> scores of one version."""


def judge(gates: Sequence[VersionGate], version: str, mine: Measured, served: str, theirs: Measured) -> Judged:
    """What the gates say; `served` is empty where nothing is compared."""
    failed = [verdict for verdict in judge_version(gates, version, mine, served, theirs) if not verdict.passed]
    return Judged(not failed, "; ".join(str(verdict) for verdict in failed))


def rows(gates: Sequence[VersionGate], served: Measured, candidate: Measured) -> list[Score]:
    """The scores of the version that is served, with the candidate's beside them: the gates' metrics, then every value of every eval."""
    metrics = dict.fromkeys([*(gate.metric for gate in gates), *_values(served)])
    found = []
    for metric in metrics:
        mine, theirs = measured(metric, served), measured(metric, candidate)
        if mine is not None:
            value, low, high = mine
            found.append(Score(metric=metric, value=value, low=low, high=high, candidate=None if theirs is None else theirs[0]))
    return found[:MOST_SCORES]


def _values(scores: Measured) -> list[str]:
    return sorted({f"{name}.{item.value}" for name, items in scores.items() for item in items})
