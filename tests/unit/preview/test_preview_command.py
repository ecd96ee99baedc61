import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from msm.cli.main import app
from tests.unit.preview.kept import ITEMS, run_data


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a run file and a model that is only good enough to be resolved."""
    monkeypatch.chdir(tmp_path)
    for name in ("MSM_STORE_URI", "MSM_HOME"):
        monkeypatch.delenv(name, raising=False)
    base = tmp_path / "model"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    data = run_data()
    data["spec"]["baseModel"]["uri"] = base.as_uri()
    (tmp_path / "items.jsonl").write_text(ITEMS, encoding="utf-8")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return tmp_path


def test_preview_prints_stages_sums_and_assumptions_and_warns_on_stderr(written: Path) -> None:
    found = CliRunner().invoke(app, ["preview", "run.yaml"])
    assert found.exit_code == 0, found.output
    assert "midtrain america seed 0" in found.stdout
    assert "nothing was run or spent" in found.stdout
    assert "tokens/s for a 135M model" in found.stdout
    assert "under 200" in found.stderr


def test_preview_as_json_is_the_forecast_and_keeps_no_run(written: Path) -> None:
    found = CliRunner().invoke(app, ["preview", "run.yaml", "--json"])
    document = json.loads(found.stdout)
    assert document["totals"]["toRun"] == document["totals"]["stages"] == len(document["stages"])
    of_machines = {"gpus", "gpuMemory", "hostMemory"}
    assert {"name", "kind", "fingerprint", "state", "rows", "tokens", "updates", "fill", "seconds", "basis", "asks"} | of_machines == set(
        document["stages"][0]
    )
    assert not (written / ".msm" / "store" / "runs").exists()


def test_a_mistake_ends_preview_with_one_line(written: Path) -> None:
    (written / "items.jsonl").write_text('{"id": "x"}\n')
    found = CliRunner().invoke(app, ["preview", "run.yaml"])
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("error: ")
