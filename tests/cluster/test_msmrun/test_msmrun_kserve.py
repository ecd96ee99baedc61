"""A run whose author is served by the cluster: made when needed, asked when it really serves, removed after the last."""

from typing import Any

from tests.cluster.control_plane import ControlPlane
from tests.cluster.test_msmrun.installation import Installation

Room = tuple[Installation, str]


def test_an_endpoint_lives_from_the_first_stage_that_asks_to_the_last(kserve: ControlPlane, room: Room) -> None:
    operator, namespace = room
    served: dict[str, Any] = {
        "endpoints": [{"name": "writer", "serve": {"model": f"s3://inputs/{namespace}", "gpus": 0}}],
        "corpora": [{"name": "america", "modelSpec": "america", "documents": 20, "synthesize": {"author": "writer"}}],
        "arms": [{"name": "msm", "midtrain": ["america"]}],
        "demonstrations": [],
        "registry": {"model": "x"},
        "execution": {"parallelism": 2},
    }

    def services() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = kserve.api.request(
            "GET", f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
        ).body.get("items", [])  # the definition is there a moment before its address is
        return found

    operator.submit(namespace, **served)
    (service,) = operator.until(services, 150, "the operator finds KServe within a minute and makes the endpoint")
    assert service["spec"]["predictor"]["deploymentStrategy"]["type"] == "Recreate"
    outline = operator.until(
        lambda: [p for p in operator.pods(namespace) if p["metadata"]["labels"].get("modelspec.dev/stage-kind") == "outline"]
    )
    environment = {e["name"]: e.get("value", "") for e in outline[0]["spec"]["containers"][0]["env"]}
    assert f"{service['metadata']['name']}-predictor.{namespace}.svc.cluster.local" in environment["MSM_STAGE"]
    assert operator.condition(namespace, "ServingAvailable")["status"] == "True"
    operator.work_until(namespace, lambda: operator.condition(namespace, "Succeeded").get("status") == "True")
    operator.until(lambda: not services())
