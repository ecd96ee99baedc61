"""A run on a real control plane whose pods' programs really run: `python -m msm.stages` with what the pod's container was given.

The fake nodes run nothing, so the test does: it starts each running pod's command here, with its environment, and tells the pod how that
ended. Torch trains a model of a few thousand parameters.
"""

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from msm.local.records import load_results
from msm.stages import contract
from msm.store import open_store
from tests.chaos import tiny_run
from tests.cluster.test_msmrun.installation import CODE, Installation

SECRET = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def execute(pod: dict[str, Any], operator: Installation, directory: Path, seconds: float = 900) -> tuple[int, str]:
    """Run a pod's command, which a busy machine may take its time for; its exit code and last message."""
    (container,) = pod["spec"]["containers"]
    scratch = directory / uuid.uuid4().hex
    scratch.mkdir()
    given = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    secret = {name: value for name, value in operator.config.to_environ().items() if name in SECRET}
    places = {
        contract.SCRATCH: str(scratch),
        contract.CACHE: str(directory / "cache"),
        contract.TERMINATION_LOG: str(scratch / "termination"),
        "HOME": str(scratch),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, *container["command"][1:]]
    with (scratch / "log").open("wb") as log:
        code = subprocess.run(command, env={**given, **secret, **places}, stdout=log, stderr=log, timeout=seconds, check=False).returncode
    return code, (scratch / "termination").read_text(encoding="utf-8").strip()


def test_real_stage_programs_make_a_real_run_succeed(room: tuple[Installation, str], tmp_path: Path) -> None:
    operator, namespace = room
    bucket = f"real-{uuid.uuid4().hex[:8]}"
    operator.s3.make_bucket(bucket)
    inputs = open_store(operator.s3.config(bucket))
    model = tiny_run.make_model(tmp_path)
    tiny_run.write_items(tmp_path)
    for file in sorted(model.iterdir()):
        inputs.upload(f"model/{file.name}", file)
    inputs.upload("items.jsonl", tmp_path / "items.jsonl")
    data = tiny_run.run_data(model, arms=[{"name": "aft", "finetune": ["food"]}, {"name": "base"}], corpora=[], modelSpecs=[])
    data["metadata"] = {"name": "example", "namespace": namespace}
    data["spec"]["baseModel"]["uri"] = f"s3://{bucket}/model"
    data["spec"]["evals"][0]["items"]["source"] = {"uri": f"s3://{bucket}/items.jsonl"}
    operator.plane.api.put(data)

    def step() -> bool:
        for pod in operator.pods(namespace):
            if CODE not in pod["metadata"].get("annotations", {}):
                code, message = execute(pod, operator, tmp_path)
                operator.annotate(pod, exit_code=str(code), message=message)
        return operator.condition(namespace, "Succeeded").get("status") == "True"

    operator.until(step, 600)
    documents = operator.documents(namespace)
    results = load_results(documents.store, documents.id)
    assert results is not None and {row.arm for row in results.arms} == {"aft", "base"}
    assert "faults" not in str(operator.get(namespace)["status"].get("stages", ()))
