"""Aliases on a real MLflow server: moved by hand, followed by the operator's reader, and a server that goes away."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from msm.cli.main import app
from msm.errors import TryAgain
from msm.tracking import TrackingConfig
from msm.tracking.client import Client, open_client
from msm.tracking.desired import Tag
from msm.tracking.promotion import AliasVersion, Note, promote, read_alias, rolled_back_tag, version_of
from msm_operator.promotion.aliases import AliasReader, Answer
from tests.mlflow_server import MLflowServer, new_server
from tests.tracked import TickingClock

pytestmark = pytest.mark.slow
NOTE = Note("a test", TickingClock().now(), "made up")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    found = new_server(tmp_path_factory.mktemp("mlflow"))
    found.start()
    yield found
    found.stop()


def register(client: Client, name: str, count: int) -> None:
    client.create_registered_model(name)
    for number in range(count):
        tags = {Tag.KIND: "finetune", Tag.FINGERPRINT: f"{number}" * 64, Tag.CONTENT: "d" * 64}
        client.create_model_version(name, f"s3://bucket/{number}", tags=tags)


def test_an_alias_is_moved_followed_and_moved_back(server: MLflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrackingConfig(server.uri, "x")
    client = open_client(config, os.environ)
    reader = AliasReader(TickingClock(), fresh=0.0)

    def follow() -> Answer:
        return asyncio.run(reader.ask(config, "cheese", "champion"))

    assert read_alias(client, "nothing", "champion") is None
    assert follow() == Answer(None)
    register(client, "cheese", 3)
    assert follow() == Answer(None)
    assert version_of(client, "cheese", "1" * 64, "d" * 64) == "2"
    for version in ("1", "2", "3"):
        promote(client, "cheese", "champion", version, NOTE)
    assert follow() == Answer(AliasVersion("3", "s3://bucket/2", "finetune", "2" * 64, "d" * 64))

    monkeypatch.setenv("MSM_TRACKING_URI", server.uri)
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["rollback", "cheese", "--why", "a test", "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout) == {"model": "cheese", "alias": "champion", "before": "3", "after": "2"}
    assert json.loads(client.get_model_version("cheese", "3").tags[rolled_back_tag("champion")])["why"] == "a test"
    assert follow().version == read_alias(client, "cheese", "champion")

    server.stop()
    answer = follow()
    assert isinstance(answer.error, TryAgain)
    assert any(why in str(answer.error) for why in ("Connection refused", "Connection aborted")), "the kept connection, or a new one"
    assert follow().error is answer.error, "a silent server is left alone"
    said = CliRunner().invoke(app, ["rollback", "cheese"])
    assert said.exit_code == 75
    assert "Connection refused" in said.stderr and said.stderr.count("\n") == 1
