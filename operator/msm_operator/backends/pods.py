"""The pod of a stage attempt: one container that runs the stage program, locked down, with room for scratch and shared memory.

Pure. Neighbours: `pytorchjob` and `job` put it into their templates, `merge` lays the user's overrides over it. Invariant: complies with
Pod Security `restricted`, has no rights at the API server, and holds no secret but by reference; what the stage contract needs stands
after every override.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msm.stages import contract
from msm_operator.backends.installation import Installation
from msm_operator.backends.merge import merge

if TYPE_CHECKING:
    from torchx.specs import AppDef

SCRATCH, CACHE, SHARED, TMP, CA = "/scratch", "/cache", "/dev/shm", "/tmp", "/etc/msm/ca"
CA_FILE = "ca.crt"
TERMINATION = "/dev/termination-log"
CONTAINER = "pytorch"
"""Name of the container; the training operator insists on it."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a pod reaches the store: the Secret with its credential, and the volume that holds its server's CA as `ca.crt`."""

    secret: str | None = None
    authority: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Dressing:
    """What a pod has besides its program: labels, annotations, secrets by reference, and what run and installation say of it."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    store: Access
    secret_env: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Environment variable -> (secret, key)."""
    template: Mapping[str, Any] | None = None
    priority_class: str | None = None
    scratch: Mapping[str, Any] | None = None
    cache: Mapping[str, Any] | None = None


def stage_environment(store: Mapping[str, str], access: Access, installation: Installation) -> dict[str, str]:
    """What the stage contract says by environment: addresses and paths, no secrets."""
    environment = {
        **store,
        contract.SCRATCH: SCRATCH,
        contract.CACHE: CACHE,
        contract.GRACE: str(installation.grace_seconds),
        contract.TERMINATION_LOG: TERMINATION,
        "HOME": TMP,
        "PYTHONUNBUFFERED": "1",
    }
    if installation.mirror is not None:
        environment["MSM_MIRROR"] = installation.mirror
    if access.authority is not None:
        environment["MSM_STORE_CA_FILE"] = f"{CA}/{CA_FILE}"
    return environment


def pod_template(app: "AppDef", dressing: Dressing, installation: Installation) -> dict[str, Any]:
    """The pod template of an application's only role."""
    role = app.roles[0]
    ours = {
        "metadata": {"labels": dict(dressing.labels), "annotations": dict(dressing.annotations)},
        "spec": _spec(_container(app, dressing, installation), dressing, installation, gpus=max(0, role.resource.gpu)),
    }
    merged = merge(ours, dressing.template or {})
    return _sealed(merged, ours)


def _container(app: "AppDef", dressing: Dressing, installation: Installation) -> dict[str, Any]:
    role = app.roles[0]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": role.image,
        "command": [role.entrypoint, *role.args],
        "env": [
            *({"name": name, "value": value} for name, value in sorted(role.env.items())),
            *_secret_env(dressing),
        ],
        "resources": _resources(role.name, max(0, role.resource.gpu), installation),
        "terminationMessagePath": TERMINATION,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(dressing),
    }
    if dressing.store.secret is not None:
        container["envFrom"] = [{"secretRef": {"name": dressing.store.secret}}]
    if installation.pull_policy is not None:
        container["imagePullPolicy"] = installation.pull_policy
    return container


def _secret_env(dressing: Dressing) -> list[dict[str, Any]]:
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, (secret, key) in sorted(dressing.secret_env.items())
    ]


def _resources(kind: str, gpus: int, installation: Installation) -> dict[str, Any]:
    stated = {name: dict(amounts) for name, amounts in installation.stage_resources.get(kind, {}).items()}
    return merge(stated, {"limits": {installation.gpu_resource: str(gpus)}}) if gpus else stated


def _mounts(dressing: Dressing) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "scratch", "mountPath": SCRATCH},
        {"name": "cache", "mountPath": CACHE},
        {"name": "shared-memory", "mountPath": SHARED},
        {"name": "tmp", "mountPath": TMP},
    ]
    return mounts + ([{"name": "ca", "mountPath": CA, "readOnly": True}] if dressing.store.authority is not None else [])


def _spec(container: dict[str, Any], dressing: Dressing, installation: Installation, gpus: int) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": installation.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": installation.user,
            "runAsGroup": installation.user,
            "fsGroup": installation.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": _volumes(dressing, installation),
    }
    if gpus:
        spec["tolerations"] = [{"key": installation.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}]
    if dressing.priority_class is not None:
        spec["priorityClassName"] = dressing.priority_class
    if installation.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in installation.pull_secrets]
    return spec


def _volumes(dressing: Dressing, installation: Installation) -> list[dict[str, Any]]:
    sized = {"sizeLimit": installation.scratch_size} if installation.scratch_size is not None else {}
    volumes: list[dict[str, Any]] = [
        {"name": "scratch", **(dressing.scratch or {"emptyDir": sized})},
        {"name": "cache", **(dressing.cache or {"emptyDir": {}})},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": installation.shared_memory}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if dressing.store.authority is not None:
        volumes.append({"name": "ca", **dressing.store.authority})
    return volumes


def _sealed(merged: dict[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """What the contract and the design rest on, whatever an override says."""
    spec = {**merged["spec"], "restartPolicy": "Never", "automountServiceAccountToken": False}
    metadata = {**merged["metadata"], "labels": {**merged["metadata"].get("labels", {}), **ours["metadata"]["labels"]}}
    original = ours["spec"]["containers"][0]
    spec["containers"] = [_sealed_container(c, original) if c.get("name") == CONTAINER else c for c in spec["containers"]]
    return {"metadata": metadata, "spec": spec}


def _sealed_container(container: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    mine = {entry["name"]: entry for entry in ours["env"]}
    env: Sequence[Mapping[str, Any]] = container.get("env", [])
    kept = [entry for entry in env if entry.get("name") not in mine]
    sealed = ("command", "terminationMessagePath", "terminationMessagePolicy")
    free = {name: value for name, value in container.items() if name != "args"}
    return {**free, **{name: ours[name] for name in sealed}, "env": [*ours["env"], *kept]}
