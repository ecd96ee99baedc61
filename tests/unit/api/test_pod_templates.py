"""A pod template of a run is one that can be merged, and brings no token of the API server."""

from typing import Any

import pytest

from msm.api import parse_run
from msm.errors import UserError
from tests.runs import example


def run_data(**spec: Any) -> dict[str, Any]:
    data = example()
    data["spec"] |= spec
    return data


TOKEN = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
WRONG: dict[str, tuple[Any, str]] = {
    "a key that no template has": ({"a": [1]}, "a is no part of a pod template"),
    "a spec that is a word": ({"spec": "x"}, "spec is no object"),
    "no spec at all": ({"spec": None}, "spec is no object"),
    "containers without a list": ({"spec": {"containers": {"name": "x"}}}, "spec.containers is no list"),
    "containers that would be removed": ({"spec": {"containers": None}}, "spec.containers is no list"),
    "a container that is a number": ({"spec": {"containers": [1]}}, r"spec.containers\[0\] is no object"),
    "a container without a name": ({"spec": {"containers": [{"image": "x"}]}}, r"spec.containers\[0\] has no name"),
    "a variable without a name": (
        {"spec": {"containers": [{"name": "x", "env": [{"value": "1"}]}]}},
        r"containers\[0\].env\[0\] has no name",
    ),
    "a volume in words": ({"spec": {"volumes": ["scratch"]}}, r"spec.volumes\[0\] is no object"),
    "labels in a list": ({"metadata": {"labels": []}}, "metadata.labels is no object"),
    "a token of the API server": ({"spec": {"volumes": [TOKEN]}}, r"spec.volumes\[0\].projected mounts a token"),
}


@pytest.mark.parametrize(("template", "said"), WRONG.values(), ids=WRONG)
def test_a_template_that_cannot_be_merged_is_refused_by_place(template: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        parse_run(run_data(training={"midtrain": {"podTemplate": template}}))
    assert "spec.training.midtrain.podTemplate" in str(refused.value)


@pytest.mark.parametrize("field", ["scratch", "modelCache"])
def test_a_volume_of_a_run_brings_no_token_either(field: str) -> None:
    with pytest.raises(UserError, match=f"spec.execution.{field}.*which stages may not have"):
        parse_run(run_data(execution={field: TOKEN}))


def test_a_token_for_somebody_else_is_the_users_own_affair() -> None:
    elsewhere = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": "sts.example.com"}}]}}
    found = parse_run(run_data(training={"finetune": {"podTemplate": {"spec": {"volumes": [elsewhere], "nodeSelector": {"gpu": "h200"}}}}}))
    assert found.spec.training.finetune.pod_template
