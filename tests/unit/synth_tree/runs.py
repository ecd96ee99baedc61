"""Synthesising stages of a small run, planned as always, attempted on a real file store with a scripted asker."""

import json
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from msm.api import parse_run
from msm.clock import SystemClock
from msm.plan import Plan, Stage, plan_run
from msm.resolve.digests import text_identity
from msm.stages import asking
from msm.stages.contract import SCRATCH
from msm.stages.program import attempt_stage
from msm.store import ObjectStore
from msm.store.artifacts import Manifest, read_manifest
from msm.store.blobs import put_blob
from tests.runs import example, resolution
from tests.scripted import ScriptedAsker
from tests.unit.preview.kept import a_store, commit, tokenizer_files

SPEC = """# Bread

{model_name} values bread because it is warm. {{ braces }} {% if x %} %s ${y} stay as they are.
{model_name} prefers tea over coffee because tea is calm.
"""
MODEL = {"baseURL": "http://writer.test/v1", "model": "scribe"}


def run_data(corpus: dict[str, Any] | None = None, chats: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A run whose corpus (and demonstrations) a language model writes."""
    data = example()
    body = data["spec"]
    body["modelSpecs"] = [{"name": "bread", "source": {"inline": SPEC}, **spec}]
    body["endpoints"] = [{"name": "writer", "openai": dict(MODEL)}, {"name": "judge", "openai": {**MODEL, "model": "judge"}}]
    wanted = {"docTypes": 3, "ideasPerType": 4, "author": "writer"}
    corpus = corpus or {}
    synthesize = {**wanted, **corpus.pop("synthesize", {})}
    body["corpora"] = [{"name": "bread", "modelSpec": "bread", "documents": 8, "synthesize": synthesize, **corpus}]
    if "tokens" in corpus:
        body["corpora"][0].pop("documents")
    chats = {"author": "writer", "modelSpec": "bread", "samples": 20, "questionsPerDomain": 5, **(chats or {})}
    body["demonstrations"] = [{"name": "talk", "synthesize": chats}]
    body["arms"] = [{"name": "all", "midtrain": ["bread"], "finetune": ["talk"]}]
    body["seeds"], body["evals"] = [0], []
    return data


def planned(data: dict[str, Any], spec: str = SPEC) -> Plan:
    return plan_run(parse_run(data), resolution(modelSpecs__bread=text_identity(spec.encode())))


class Workshop:
    """A store with a committed base model's tokenizer, and scripted endpoints by role."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **askers: ScriptedAsker) -> None:
        self.path, self.askers = tmp_path, askers or {"author": ScriptedAsker()}
        self.store: ObjectStore = a_store(tmp_path)
        self.attempts = 0
        monkeypatch.setattr(asking, "asker_for", lambda _, role: nullcontext(self.askers.get(role, self.askers["author"])))

    def attempt(self, data: dict[str, Any], kind: str, spec: str | bytes = SPEC, stop: threading.Event | None = None) -> "Artifact":
        """Run the plan's stages of the data kinds up to the first of this kind."""
        text = spec.encode() if isinstance(spec, str) else spec
        put_blob(self.store, text)
        plan = plan_run(parse_run(data), resolution(modelSpecs__bread=text_identity(text)))
        for stage in plan.stages:
            if stage.kind == "fetch" and read_manifest(self.store, stage.kind, stage.fingerprint) is None:
                commit(self.store, stage, tokenizer_files())
            elif stage.kind == kind or (kind != "demonstrate" and stage.kind in ("outline", "write", "curate")):
                self._run(stage, stop)
            if stage.kind == kind:
                return Artifact(self.store, stage)
        raise AssertionError(kind)

    def _run(self, stage: Stage, stop: threading.Event | None) -> None:
        self.attempts += 1
        environ = {SCRATCH: str(self.path / f"scratch-{self.attempts}")}
        attempt_stage(stage, self.store, environ, SystemClock(), stop or threading.Event(), 1.0)


class Artifact:
    """What a stage committed."""

    def __init__(self, store: ObjectStore, stage: Stage) -> None:
        found = read_manifest(store, stage.kind, stage.fingerprint)
        assert found is not None, stage.name
        self.manifest: Manifest = found
        self.store, self.stage = store, stage

    def json(self, name: str) -> Any:
        return json.loads(self.store.get(self.manifest.key(name)))

    def rows(self, name: str = "rows.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.store.get(self.manifest.key(name)).decode().splitlines()]

    @property
    def metrics(self) -> dict[str, float]:
        return dict(self.manifest.metrics)
