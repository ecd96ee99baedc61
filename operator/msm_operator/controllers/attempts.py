"""An attempt of a stage as the object to apply.

Pure. Neighbours: decisions say which attempts start, `backends` render. Invariant: the object follows from the frozen documents, the stage
and the number alone, but for the addresses of endpoints, which follow from their names.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from msm.api.run import MSMRun
from msm.llm.endpoint import key_variable
from msm.plan import Stage, kinds
from msm.stages.app import app_def
from msm_operator.backends.installation import Installation
from msm_operator.backends.jobs import body
from msm_operator.backends.names import ATTEMPT, KIND, STAGE, STAGE_NAME, common_labels, job_name, owner
from msm_operator.backends.pods import Dressing, pod_template, stage_environment
from msm_operator.controllers import arms
from msm_operator.controllers.credentials import access
from msm_operator.controllers.documents import Documents
from msm_operator.controllers.observed import short

SECRET_VARIABLES = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MSM_STORE_CA_FILE"})


def attempt(
    obj: Mapping[str, Any], documents: Documents, stage: Stage, number: int, addresses: Mapping[str, str], installation: Installation
) -> dict[str, Any]:
    """The object of the `number`-th attempt at a stage; `addresses` are those of the endpoints that the cluster serves.

    Raises:
        UserError: the stage's document is too large.
    """
    reached = with_addresses(stage, addresses, documents.plan.resolution.inputs)
    store = {name: value for name, value in documents.config.to_environ().items() if name not in SECRET_VARIABLES}
    environment = stage_environment(store, access(documents.run, documents.config, installation), installation)
    app = app_def(reached, environment, installation.interpreter, documents.cluster.image)
    labels = {**common_labels(obj), STAGE: short(stage), KIND: stage.kind, ATTEMPT: str(number)}
    template = pod_template(app, _dressing(documents, stage, labels, installation), installation)
    metadata = {
        "name": job_name(documents.cluster.name, documents.cluster.uid, stage.name, stage.fingerprint, number),
        "namespace": documents.cluster.namespace,
        "labels": labels,
        "annotations": {STAGE_NAME: stage.name},
        "ownerReferences": [owner(obj)],
    }
    return body(app, template, metadata, documents.run.spec.execution.queue_name)


def _dressing(documents: Documents, stage: Stage, labels: Mapping[str, str], installation: Installation) -> Dressing:
    execution = documents.run.spec.execution
    return Dressing(
        labels=labels,
        annotations={STAGE_NAME: stage.name},
        store=access(documents.run, documents.config, installation),
        secret_env=_secrets(documents.run, stage, installation),
        template=_template(documents.run, stage),
        priority_class=execution.priority_class_name,
        scratch=execution.scratch,
        cache=execution.model_cache,
    )


def _secrets(run: MSMRun, stage: Stage, installation: Installation) -> dict[str, tuple[str, str]]:
    """Keys of the language models that a stage asks, and the hub's token where it downloads; nobody else gets them."""
    asked = {str(role["name"]) for role in roles(stage).values()}
    keys = {
        key_variable(e.name): (e.openai.api_key_secret_ref.name, e.openai.api_key_secret_ref.key)
        for e in run.spec.endpoints
        if e.name in asked and e.openai is not None and e.openai.api_key_secret_ref is not None
    }
    if stage.kind == kinds.FETCH and installation.hub_secret is not None:
        keys["HF_TOKEN"] = (installation.hub_secret, "token")
    return keys


def _template(run: MSMRun, stage: Stage) -> Mapping[str, Any] | None:
    if stage.kind not in kinds.TRAINING:
        return None
    recipe = run.spec.training.midtrain if stage.kind == kinds.MIDTRAIN else run.spec.training.finetune
    return recipe.pod_template


def roles(stage: Stage) -> dict[str, dict[str, JsonValue]]:
    """The endpoints that a stage asks, by role."""
    endpoints = stage.execution.get("endpoints")
    found = endpoints.items() if isinstance(endpoints, dict) else ()
    return {role: dict(endpoint) for role, endpoint in found if isinstance(endpoint, dict)}


def with_addresses(stage: Stage, addresses: Mapping[str, str], inputs: Mapping[str, Any]) -> Stage:
    """The stage, asking the endpoints that the cluster serves as the OpenAI servers that they are; no part of its fingerprint changes."""
    role = arms.role_of(stage)
    if role is not None:
        return _asking_arms(stage, role, addresses)
    served = {role: endpoint for role, endpoint in roles(stage).items() if endpoint.get("serve") is not None}
    if not served:
        return stage
    reached: dict[str, JsonValue] = {role: _reached(endpoint, addresses, inputs) for role, endpoint in served.items()}
    before = stage.execution["endpoints"]
    endpoints: dict[str, JsonValue] = {**(before if isinstance(before, dict) else {}), **reached}
    return stage.model_copy(update={"execution": {**stage.execution, "endpoints": endpoints}})


def _asking_arms(stage: Stage, role: Mapping[str, JsonValue], addresses: Mapping[str, str]) -> Stage:
    """An eval of arms that are served: where, and by which names."""
    execution: dict[str, JsonValue] = {**stage.execution, "endpoint": arms.asked(stage, addresses[str(role["name"])])}
    return stage.model_copy(update={"execution": {name: value for name, value in execution.items() if name != "endpoints"}})


def _reached(endpoint: Mapping[str, JsonValue], addresses: Mapping[str, str], inputs: Mapping[str, Any]) -> JsonValue:
    name = str(endpoint["name"])
    identity = inputs[f"endpoints.{name}"].identity
    return {"name": name, "openai": {"baseURL": addresses[name], "model": name, "identity": label_identity(identity)}}


def label_identity(identity: str) -> str:
    """An identity as long as an endpoint may state one."""
    return identity if len(identity) <= 200 else identity[-200:]
