"""A synthesised run as a user types it: preview and pilot.

Real processes, a scripted server, a model of a few thousand parameters.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from msm.llm.ask import Request, Sampling
from msm.synth.prompts import schemas
from tests.chaos import tiny_run
from tests.llm_server import MODEL, Asked, Reply, ScriptedServer, running_llm_server
from tests.scripted import ScriptedAsker

pytestmark = pytest.mark.slow
AUTHOR = ScriptedAsker(model="Tiny", sentences=10)
FOUND_AGAIN = (schemas.DOMAINS, schemas.SUBDOMAINS)
"""What the scripted author finds in any spec, however it is edited."""
SPEC = (
    "# Home\n\n{model_name} cares about home-made things because they are made by people one knows.\n"
    "{model_name} prefers tea over coffee because tea is calm.\n"
)


def content(asked: Asked) -> Reply:
    form = asked.body.get("response_format", {}).get("json_schema", {}).get("schema")
    key = "the same" if form in FOUND_AGAIN else asked.prompt
    answer = AUTHOR.answer(Request("", asked.last, Sampling(1), "", schema=form), hashlib.sha256(key.encode()).hexdigest())
    return Reply(answer.text if form is None else json.dumps(answer.data))


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with running_llm_server(content=content, latency=0.02) as running:
        yield running


class User:
    """Types commands in a directory."""

    def __init__(self, directory: Path, server: ScriptedServer) -> None:
        self.directory, self.server = directory, server
        self.file = directory / "run.yaml"
        tiny_run.write_items(directory)
        (directory / "spec.md").write_text(SPEC)
        self.file.write_text(yaml.safe_dump(run_data(tiny_run.make_model(directory), server)))

    def start(self, *words: str) -> "subprocess.Popen[str]":
        environ = {**os.environ, "MSM_HOME": str(self.directory / "home"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "msm.cli", *words]
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def types(self, *words: str) -> dict[str, Any]:
        """What a command that ends well says as JSON."""
        process = self.start(*words, "--json")
        said, errors = process.communicate(timeout=400)
        assert process.returncode == 0, errors[-2000:]
        return dict(json.loads(said))

    def asked(self, start: int = 0) -> Counter[str]:
        return Counter(one.prompt for one in self.server.asked[start:])


def run_data(model: Path, server: ScriptedServer) -> dict[str, Any]:
    price = {"input": 1.0, "output": 10.0}
    reached = {"baseURL": server.base_url, "model": MODEL, "identity": "scripted", "concurrency": 4, "price": price, "maxPrice": 5}
    data = tiny_run.run_data(model)
    spec = data["spec"]
    spec["modelSpecs"] = [{"name": "home", "source": {"path": "spec.md"}}]
    spec["endpoints"] = [{"name": "writer", "openai": reached}]
    asked = {"author": "writer", "docTypes": 2, "ideasPerType": 6}
    quality = {"minScore": 6, "decontaminate": ["values"]}
    spec["corpora"] = [{"name": "home", "modelSpec": "home", "documents": 12, "synthesize": asked, "quality": quality}]
    chats = {"author": "writer", "modelSpec": "home", "samples": 8, "questionsPerDomain": 2}
    spec["demonstrations"] = [{"name": "talk", "synthesize": chats}]
    spec["training"]["finetune"] |= {"maxLength": 512, "batchTokens": 512}
    spec["arms"] = [{"name": "aft", "finetune": ["talk"]}, {"name": "msm-home-aft", "midtrain": ["home"], "finetune": ["talk"]}]
    return data


def answered(foreseen: dict[str, Any]) -> dict[str, int]:
    return {ask["step"]: ask["answered"] for stage in foreseen["stages"] for ask in stage["asks"]}


@pytest.fixture
def user(tmp_path: Path, server: ScriptedServer) -> User:
    return User(tmp_path, server)


def test_a_pilot_measures_the_full_run_and_leaves_it_as_it_was(user: User, server: ScriptedServer) -> None:
    start = server.number
    before = user.types("preview", str(user.file))

    pilot = user.types("pilot", str(user.file), "--documents", "5")
    documents, dialogues = pilot["parts"]
    assert (documents["made"], documents["what"], dialogues["made"]) == (5, "documents", 5)
    assert documents["passed"] + sum(documents["dropped"].values()) == 5
    assert set(documents["scores"]) == set(schemas.AXES)
    assert (pilot["answers"], set(user.asked(start).values())) == (server.number - start, {1})
    assert 0 < pilot["reused"] < pilot["answers"]
    assert 0 < pilot["price"][0] <= pilot["price"][1]
    after = user.types("preview", str(user.file))
    assert (after["uid"], [s["fingerprint"] for s in after["stages"]]) == (before["uid"], [s["fingerprint"] for s in before["stages"]])
    assert sum(answered(after).values()) == pilot["reused"]
