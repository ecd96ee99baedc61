"""An eval whose arms are asked through an endpoint: one server for base and adapters where a cluster serves them, gone after it."""

import json
from pathlib import Path
from typing import Any

import pytest

from msm.errors import UserError
from msm.plan import plan_run
from msm_operator.backends.names import endpoint_name
from msm_operator.runtime.resources import INFERENCESERVICES, SERVING_RUNTIMES
from tests.runs import resolution
from tests.unit.operator_msmrun.cluster import NAMESPACE, Workshop, msm_run
from tests.unit.operator_msmrun.test_msmrun_endpoints import serve


def asked(**spec: Any) -> dict[str, Any]:
    data = msm_run(**spec)
    data["spec"]["evals"][0]["via"] = "endpoint"
    return data


def work_to_the_eval(workshop: Workshop) -> None:
    """Do everything until nothing but the eval is left."""
    workshop.submit(asked(execution={"parallelism": 8}))
    for _ in range(30):
        workshop.clock(1)
        workshop.reconcile()
        jobs = workshop.jobs()
        if not jobs and workshop.cluster.of(INFERENCESERVICES):
            return
        for job in jobs:
            workshop.do(job)
    raise AssertionError(workshop.status())


def test_one_server_holds_the_base_and_each_arms_adapter_under_a_name_that_follows_from_it(workshop: Workshop) -> None:
    work_to_the_eval(workshop)
    (service,) = workshop.cluster.of(INFERENCESERVICES)
    (stage,) = (s for s in workshop.plan.stages if s.kind == "evaluate")
    (base,) = stage.inputs["model"]
    trained = [ref for ref in stage.inputs["arms"] if ref != base]
    uris = service["spec"]["predictor"]["storageUris"]
    assert uris[0]["mountPath"] == "/mnt/models/base" and f"/fetch/{base.fingerprint}/" in uris[0]["uri"]
    assert len(uris) == 1 + len(trained)
    (runtime,) = workshop.cluster.of(SERVING_RUNTIMES)
    (container,) = runtime["spec"]["containers"]
    modules = {word.partition("=")[0]: word.partition("=")[2] for word in container["args"] if word.startswith("arm-")}
    assert modules.keys() == {f"arm-{ref.fingerprint[:16]}" for ref in trained}
    assert {one["mountPath"] for one in uris[1:]} == set(modules.values())
    assert "--max-lora-rank=16" in container["args"] and "--served-model-name=base" in container["args"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}


def test_the_eval_waits_for_the_server_is_told_where_each_arm_answers_and_the_server_goes(workshop: Workshop) -> None:
    work_to_the_eval(workshop)
    row = next(r for r in workshop.status()["stages"] if r["kind"] == "evaluate")
    assert (row["state"], row["reason"]) == ("waiting", "EndpointNotReady")
    serve(workshop)
    workshop.reconcile()
    (job,) = workshop.jobs()
    environment = {e["name"]: e.get("value", "") for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    told = json.loads(environment["MSM_STAGE"])["execution"]["endpoint"]
    stage = workshop.stage_of(job)
    (base,) = stage.inputs["model"]
    name = workshop.cluster.of(INFERENCESERVICES)[0]["metadata"]["name"]
    assert told["baseURL"] == f"http://{name}-predictor.{NAMESPACE}.svc.cluster.local/v1"
    assert told["models"][base.fingerprint] == "base"
    assert set(told["models"]) == {ref.fingerprint for ref in stage.inputs["arms"]}
    workshop.finish()
    assert not workshop.cluster.of(INFERENCESERVICES)
    assert workshop.condition("Succeeded")["status"] == "True"


def test_a_run_that_trains_in_full_is_told_that_its_arms_have_no_adapters(workshop: Workshop) -> None:
    data = asked()
    data["spec"]["training"]["method"] = "full"
    del data["spec"]["training"]["lora"]
    workshop.submit(data)
    workshop.reconcile()
    message = workshop.condition("Accepted")["message"]
    assert message.startswith("spec.evals.values.via:") and "via: inProcess" in message


def test_a_laptop_has_nothing_to_serve_arms_with(tmp_path: Path) -> None:
    from msm.api import parse_run

    with pytest.raises(UserError, match=r"spec\.evals\.values: needs a cluster"):
        plan_run(parse_run(asked()), resolution())


@pytest.mark.parametrize("namespace", ["team", "a-team-with-a-name", "n" * 30, "n" * 43])
def test_a_servers_name_leaves_room_for_what_kserve_makes_of_it(namespace: str) -> None:
    made = endpoint_name("a-run-with-a-long-name", "u-1", "arms-0a1b2c3d", namespace)
    assert len(f"{made}-predictor-{namespace}") <= 63 and made[0].isalpha() and not made.endswith("-")
    assert made != endpoint_name("a-run-with-a-long-name", "u-2", "arms-0a1b2c3d", namespace)
