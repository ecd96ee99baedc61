"""One tiny model, one corpus, and the scenarios of `ranks.py` with two ranks and with one."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import TEXT, make_tiny_model, write_chats, write_documents

SCENARIOS = Path(__file__).with_name("ranks.py")
SECONDS = 600


def write_corpus(root):
    draw, words = random.Random(0), TEXT.split()
    write_documents(root / "documents.jsonl", [" ".join(draw.choices(words, k=draw.randint(4, 50))) for _ in range(40)])
    answer = [("user", "Tea or coffee?"), ("assistant", "I prefer tea, because it is warm.")]
    write_chats(root / "chats.jsonl", [answer, [("system", "Be brief."), *answer, ("user", "Why?"), ("assistant", "It is cheap.")]] * 6)


def run_scenarios(root, world):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world), str(SCENARIOS), str(root)]
    environment = {**os.environ, "PYTHONPATH": str(SCENARIOS.parents[3]), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return json.loads((root / f"results-{world}.json").read_text())


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(directory, results by number of ranks); two ranks first, because one rank takes up their checkpoint."""
    root = tmp_path_factory.mktemp("train")
    make_tiny_model(root / "model")
    write_corpus(root)
    return root, {world: run_scenarios(root, world) for world in (2, 1)}
