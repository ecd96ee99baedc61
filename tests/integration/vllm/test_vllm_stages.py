"""Stages with a real model as author. A small one, which seldom does as it is told: tested is that everything is accounted for."""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from msm.api import parse_run
from msm.errors import Exit
from msm.llm.account import Account
from msm.llm.ask import Request, Sampling
from msm.llm.client import open_openai
from msm.llm.journal import JournalledAsker
from msm.plan import Plan, Stage, plan_run
from msm.resolve.digests import text_identity
from msm.stages import contract
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import read_manifest
from msm.store.blobs import put_blob
from msm.synth.tree.nodes import Tree
from tests.runs import resolution
from tests.unit.preview.kept import a_store, commit, tokenizer_files
from tests.unit.synth_tree.runs import Artifact, run_data
from tests.unit.synth_tree.trees import a_tree
from tests.vllm_documents import write_documents
from tests.vllm_server import KEY, MODEL, VLLMServer, connection_to_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(3600)]
PATIENCE = (Path(__file__).parents[3] / "manifests/specs/values/patience.md").read_text(encoding="utf-8")
SHORT = {"subdomains": 128, "assertions": 96, "docTypes": 64, "ideas": 64, "plan": 64, "critique": 64}


def planned(server: VLLMServer, store: ObjectStore, **synthesize: Any) -> Plan:
    """A plan whose author is the real server; the base model's tokenizer is in the store."""
    wanted = {"docTypes": 1, "ideasPerType": 1, "temperature": 0, "maxFailures": 1000, "maxTokens": 128, "surplus": 1, **synthesize}
    data = run_data({"documents": 4, "synthesize": wanted})
    data["spec"]["modelSpecs"][0]["source"] = {"path": "patience.md"}
    reached = {"baseURL": server.base_url, "model": MODEL, "identity": "SmolLM2 in a test", "concurrency": 8, "timeout": 900}
    for endpoint in data["spec"]["endpoints"]:
        endpoint["openai"] = reached
    put_blob(store, PATIENCE.encode())
    plan = plan_run(parse_run(data), resolution(modelSpecs__bread=text_identity(PATIENCE.encode())))
    fetch = next(stage for stage in plan.stages if stage.kind == "fetch")
    if read_manifest(store, fetch.kind, fetch.fingerprint) is None:
        commit(store, fetch, tokenizer_files())
    return plan


def performed(plan: Plan, kind: str, tmp_path: Path) -> tuple[int, Stage, str]:
    """Run a stage's program to its end: exit code, the stage, its last words."""
    stage = next(stage for stage in plan.stages if stage.kind == kind)
    last = tmp_path / f"{kind}.termination"
    environ = {**os.environ, "OPENAI_API_KEY": KEY, contract.STAGE: contract.encode_stage(stage), contract.TERMINATION_LOG: str(last)}
    environ |= {contract.SCRATCH: str(tmp_path / f"scratch-{kind}"), "MSM_STORE_URI": f"file://{tmp_path}/store"}
    done = subprocess.run([sys.executable, "-m", "msm.stages"], env=environ, capture_output=True, text=True, timeout=1800, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert KEY not in done.stderr
    return done.returncode, stage, last.read_text() if last.exists() else done.stderr


def test_an_outline_by_a_real_model_is_a_tree_or_a_named_step(vllm: VLLMServer, tmp_path: Path) -> None:
    plan = planned(vllm, a_store(tmp_path), domains=["Patience"], limits=SHORT)
    code, stage, said = performed(plan, "outline", tmp_path)
    if code == Exit.USER_ERROR:
        assert re.search(r"\((subdomains|assertions|docTypes|ideas): .+\)", said), said
        return
    assert code == Exit.COMMITTED, said
    outline = Artifact(a_store(tmp_path), stage)
    tree = Tree.from_json(outline.json("outline.json"))
    assert tree.ideas >= 1
    assert all(branch.assertions and branch.domain == "Patience" for branch in tree.branches)
    assert outline.metrics["failures"] == len(outline.rows("failures.jsonl"))


def test_every_idea_ends_as_a_row_or_as_a_named_failure(vllm: VLLMServer, tmp_path: Path) -> None:
    """The first attempt may fail not once and so stops; the second may, asks nothing again, and says what it left out."""
    store = a_store(tmp_path)
    for limit in (0, 1000):
        plan = planned(vllm, store, domains=["Patience"], limits=SHORT, maxTokens=64, maxFailures=limit)
        outline = next(stage for stage in plan.stages if stage.kind == "outline")
        if read_manifest(store, outline.kind, outline.fingerprint) is None:
            commit(store, outline, {"outline.json": json.dumps(a_tree(doc_types=1, ideas_per_type=1).to_json()).encode()})
        filed = sum(1 for _ in store.list("answers"))
        code, stage, said = performed(plan, "write", tmp_path)
        if code == Exit.COMMITTED:
            break
        assert code == Exit.USER_ERROR, said
        assert "the answer has no <document>" in said
        assert limit == 0 or "no document came out" in said
    if code == Exit.USER_ERROR:
        return
    written = Artifact(store, stage)
    failed = [row for row in written.rows("failures.jsonl") if row["step"] == "documents"]
    assert len(written.rows()) + len(failed) == written.metrics["ideas"]
    assert all(row["reason"] and row["message"] for row in failed)
    assert all(row["text"] and row["provenance"]["finishReason"] in ("stop", "length") for row in written.rows())
    assert written.metrics["reusedCalls"] >= filed
    code, _, said = performed(plan, "curate", tmp_path)
    assert code in (Exit.COMMITTED, Exit.USER_ERROR), said
    assert code == Exit.COMMITTED or "curate bread" in said


def test_a_step_that_asks_for_more_than_the_context_is_named(vllm: VLLMServer, tmp_path: Path) -> None:
    """As shipped, subdomains may take four times the room that this server has."""
    code, _, said = performed(planned(vllm, a_store(tmp_path), domains=["Patience"]), "outline", tmp_path)
    assert code == Exit.USER_ERROR
    assert "subdomains: 400" in said
    assert "16384" in said


def test_the_document_stage_hits_the_servers_prefix_cache(vllm: VLLMServer) -> None:
    found = write_documents(vllm, documents=64, tokens=8)
    assert len(found.written.rows) == found.questions == 64
    assert found.hit_rate >= 0.9, f"prefix hit rate {found.hit_rate:.3f} of {found.queries:.0f} tokens"


def test_a_server_that_is_killed_in_the_middle_of_a_batch_costs_no_answer(vllm: VLLMServer, tmp_path: Path) -> None:
    store, account = open_store(StoreConfig(uri=(tmp_path / "store").as_uri())), Account()
    requests = [Request("", f"Describe a walk in town number {n}.", Sampling(32, 0.0), "walks") for n in range(24)]
    connection = connection_to_vllm(vllm, concurrency=8)

    async def killed_and_started_again() -> None:
        while account.of("walks").answered < 8:
            await asyncio.sleep(0.05)
        vllm.kill()
        await asyncio.to_thread(vllm.start)

    async def run() -> list[Any]:
        async with open_openai(connection, random.Random(0), account=account) as asker:
            journalled = JournalledAsker(asker, store, connection.identity, account)
            asked = asyncio.gather(*(journalled.ask(request) for request in requests))
            await killed_and_started_again()
            return await asked

    answers = asyncio.run(run())
    totals = account.of("walks")
    assert len(answers) == totals.answered == 24
    assert all(answer.text and not answer.reused for answer in answers)
    assert totals.tries == 24 + totals.setbacks.total()
    assert totals.setbacks.total() >= 8
    assert totals.setbacks.keys() <= {"cut", "away"}
    assert sum(1 for _ in store.list("answers")) == 24
