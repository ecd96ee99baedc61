"""Names and labels of everything that the operator makes.

Pure. Neighbours: every renderer and reader here. Invariant: a name is a function of run uid, stage and attempt number, is a DNS-1035 label
and leaves room for what other controllers append (`-worker-127`, `-predictor`); two things that differ have different names.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

MANAGER: Final = "msm-operator"
"""Field manager, and value of the managed-by label."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
"""Label: made by this operator."""
RUN: Final = "modelspec.dev/run"
"""Label: name of the MSMRun."""
RUN_UID: Final = "modelspec.dev/run-uid"
"""Label: uid of the MSMRun."""
STAGE: Final = "modelspec.dev/stage"
"""Label: first characters of the stage's fingerprint."""
KIND: Final = "modelspec.dev/stage-kind"
"""Label: stage kind."""
ATTEMPT: Final = "modelspec.dev/attempt"
"""Label: number of the attempt."""
ENDPOINT: Final = "modelspec.dev/endpoint"
"""Label: name of the endpoint in the run."""
STAGE_NAME: Final = "modelspec.dev/stage-name"
"""Annotation: the stage's name, for people."""
QUEUE: Final = "kueue.x-k8s.io/queue-name"
"""Label: Kueue's LocalQueue."""
FINALIZER: Final = "modelspec.dev/records"
"""Finalizer of runs whose records go with them."""

_ROOM = 47
"""Characters of a job's name: 63 less the longest suffix that the training operator appends."""


def slug(text: str, length: int) -> str:
    """Lower-case letters, digits and dashes of a text, at most `length`, beginning and ending with none of the dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].rstrip("-")


def job_name(run: str, uid: str, stage: str, fingerprint: str, number: int) -> str:
    """Name of an attempt's job: parts for people, a digest of run and stage, and the attempt."""
    mark = sha256(f"{uid}/{fingerprint}".encode()).hexdigest()[:8]
    tail = f"-{mark}-a{number}"
    people = slug(f"{slug(run, 16)}-{stage}", _ROOM - len(tail) - 1)
    return f"{people}{tail}" if people[:1].isalpha() else f"m{people}{tail}"


def endpoint_name(run: str, uid: str, endpoint: str, namespace: str) -> str:
    """Name of an endpoint's InferenceService and of what goes with it.

    KServe makes a host name `<name>-predictor-<namespace>`, one label of 63 characters; it comes up with nothing where that is longer.
    """
    mark = sha256(f"{uid}/endpoint/{endpoint}".encode()).hexdigest()[:8]
    room = min(30, 63 - len(f"-predictor-{namespace}") - len(f"m-{mark}"))
    people = slug(f"{slug(run, 12)}-{endpoint}", max(0, room))
    if not people:
        return f"m{mark}"
    return f"{people}-{mark}" if people[:1].isalpha() else f"m{people}-{mark}"


def wall_name(name: str, uid: str) -> str:
    """Name of the NetworkPolicy around the pods of a run or an EvalDeployment."""
    return f"msm-{slug(name, 40)}-{sha256(f'{uid}/network'.encode()).hexdigest()[:8]}"


def label_value(text: str) -> str:
    """A text as a label's value: at most 63 of the characters that it may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:63].strip("-._")


def common_labels(run: Mapping[str, Any]) -> dict[str, str]:
    """Labels of everything that belongs to a run."""
    metadata = run["metadata"]
    return {
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/part-of": "msm",
        RUN: label_value(metadata["name"]),
        RUN_UID: metadata["uid"],
    }


def owner(run: Mapping[str, Any]) -> dict[str, Any]:
    """The owner reference to a run."""
    metadata = run["metadata"]
    return {
        "apiVersion": run["apiVersion"],
        "kind": run["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
