"""From a laptop's file to results: `msm submit` uploads, the operator runs, `msm wait`, `status`, `results` and `report` read.

Stages run on fake nodes; `installation` does their work. Everything else is real.
"""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from tests.cluster.test_msmrun.installation import Installation
from tests.finished import items, lines, run_data
from tests.unit.cli.kept import msm

pytestmark = pytest.mark.slow


class Laptop:
    """A directory with a run file and local inputs, and the command line in it."""

    def __init__(self, operator: Installation, namespace: str, directory: Path) -> None:
        self.operator, self.namespace = operator, namespace
        (directory / "items.jsonl").write_bytes(lines(items()))
        data = run_data(seeds=[0])
        data["spec"]["baseModel"]["uri"] = f"s3://inputs/{namespace}"
        data["spec"]["evals"][0]["items"]["source"] = {"path": "items.jsonl"}
        for spec in data["spec"]["modelSpecs"]:
            text = spec["source"].get("inline", spec["name"])
            (directory / f"{spec['name']}.md").write_text(text)
            spec["source"] = {"path": f"{spec['name']}.md"}
        data["spec"]["execution"] = {"parallelism": 4}
        (directory / "run.yaml").write_text(yaml.safe_dump(data))
        self.name = data["metadata"]["name"]

    def msm(self, *arguments: str) -> Result:
        environ = {**self.operator.config.to_environ(), "KUBECONFIG": str(self.operator.plane.kubeconfig)}
        return msm(*arguments, "--namespace", self.namespace, env=environ)


@pytest.fixture
def laptop(room: tuple[Installation, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    operator, namespace = room
    monkeypatch.chdir(tmp_path)
    operator.inputs.put(f"{namespace}/model.safetensors", namespace.encode())
    return Laptop(operator, namespace, tmp_path)


def test_a_laptops_file_runs_in_the_cluster_and_its_results_are_read_here(laptop: Laptop) -> None:
    submitted = laptop.msm("submit", "run.yaml")
    assert submitted.exit_code == 0, submitted.output
    accepted = laptop.msm("wait", "run.yaml", "--for", "accepted", "--timeout", "120s")
    assert accepted.exit_code == 0, accepted.output
    early = laptop.msm("results", "run.yaml")
    assert (early.exit_code, "has no results yet" in early.stderr) == (75, True)
    operator, namespace = laptop.operator, laptop.namespace
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded", laptop.name).get("status") == "True")
    assert laptop.msm("wait", "run.yaml", "--timeout", "60s").exit_code == 0
    status = laptop.msm("status", "run.yaml")
    documents = operator.documents(namespace, laptop.name)
    total = len(documents.plan.stages)
    assert status.stdout.splitlines()[0] == f"{documents.id}  Succeeded  100%  {total} of {total} stages done"
    assert all(stage.name in status.stdout for stage in documents.plan.stages)
    results = json.loads(laptop.msm("results", "run.yaml", "--json").stdout)
    assert results["effects"]
    report = laptop.msm("report", laptop.name, "--out", "out")
    assert report.exit_code == 0, report.output
    assert Path("out/report.html").is_file()
    assert laptop.msm("logs", laptop.name).exit_code == 0


def test_a_mistake_that_only_the_operator_sees_ends_the_waiting(laptop: Laptop) -> None:
    data = yaml.safe_load(Path("run.yaml").read_text())
    data["spec"]["baseModel"]["uri"] = "s3://inputs/no-model-here"
    Path("run.yaml").write_text(yaml.safe_dump(data))
    assert laptop.msm("submit", "run.yaml").exit_code == 0
    waited = laptop.msm("wait", "run.yaml", "--timeout", "120s")
    assert waited.exit_code == 2
    assert "was not accepted: InvalidSpec: spec.baseModel.uri: s3://inputs/no-model-here holds no objects" in waited.stderr
    assert laptop.msm("status", "run.yaml").stdout.startswith(f"{laptop.name}  Refused\nInvalidSpec: spec.baseModel.uri")
