"""A run whose texts a language model writes, from spec to reported effect: real processes, real training, a scripted server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from msm.store import StoreConfig, open_store
from tests.integration.llm.test_llm_pilot import User, content
from tests.llm_server import ScriptedServer, running_llm_server

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with running_llm_server(content=content, latency=0.01) as running:
        yield running


def test_a_synthesised_corpus_is_trained_on_and_its_effect_is_measured(tmp_path: Path, server: ScriptedServer) -> None:
    user = User(tmp_path, server)
    user.types("run", str(user.file))
    results = user.types("results", str(user.file))
    effects = {effect["metric"]: effect for effect in results["effects"]}
    assert effects["values.home.free.margin"]["items"] == 4
    assert (effects["values.home.free.margin"]["arm"], effects["values.home.free.margin"]["versus"]) == ("msm-home-aft", "aft")
    assert set(user.asked().values()) == {1}, "no question was asked twice"

    asked = server.number
    user.types("run", str(user.file))
    assert server.number == asked, "a run that is done asks nothing"

    store = open_store(StoreConfig(f"file://{tmp_path}/home/store"))
    kinds = [found.key.split("/")[0] for found in store.list("") if found.key.endswith("/manifest.json") and found.key.count("/") == 2]
    assert sorted(kinds) == ["curate", "demonstrate", "evaluate", "fetch", "finetune", "finetune", "midtrain", "outline", "write"]
