"""Whose credential goes where: what the operator reads for a run, what the run's pods mount, and which servers it is shown to.

Neighbours: admission and the EvalDeployment controller ask for the configuration, renderers for the access. Invariants: a Secret is read
in namespaced mode alone, from the run's own namespace, under the name that the run gives; the installation's credential and certificate are
mounted only where the installation's store is used, and its MLflow credential is shown to its MLflow alone, so no run can have them sent to
a server of its own.
"""

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from msm.api import MSMRun
from msm.api.inputs import KeyRef
from msm.errors import UserError
from msm.store import StoreConfig
from msm_operator.backends.installation import Installation
from msm_operator.backends.pods import CA_FILE, Access
from msm_operator.controllers.documents import config_for, has_own_store
from msm_operator.runtime.resources import SECRETS, Resource
from msm_operator.runtime.seams import Key

log = logging.getLogger(__name__)
Get = Callable[[Resource, Key], Awaitable[Mapping[str, Any] | None]]


async def store_config(obj: Mapping[str, Any], run: MSMRun, get: Get, installation: Installation, directory: Path) -> StoreConfig:
    """Where a run's artifacts lie, and with what the operator reads them; certificates are kept in `directory`.

    Raises:
        UserError: the run names a store that this installation may not use, or a Secret that is not there.
    """
    storage = run.spec.storage
    if storage is None or not installation.namespaced:
        return config_for(run, installation.store, installation.namespaced, None, None)
    keys = await _secret(obj, storage.secret_ref, "secretRef", get) if storage.secret_ref is not None else None
    authority = None
    if storage.ca_secret_ref is not None:
        held = await _secret(obj, storage.ca_secret_ref, "caSecretRef", get)
        authority = _kept(held, storage.ca_secret_ref, directory)
    return config_for(run, installation.store, True, keys, authority)


async def _secret(obj: Mapping[str, Any], ref: KeyRef, field: str, get: Get) -> Mapping[str, str]:
    found = await get(SECRETS, Key(obj["metadata"]["namespace"], ref.name))
    if found is None:
        raise UserError(f"spec.storage.{field}", f"there is no Secret {ref.name} in this namespace", "make it")
    return _decoded(found)


def _kept(held: Mapping[str, str], ref: KeyRef, directory: Path) -> Path:
    """The certificate as a file, called by its contents: the same one is the same store's."""
    text = held.get(ref.key)
    if text is None or "-----BEGIN CERTIFICATE-----" not in text:
        problem = f"key {ref.key} of Secret {ref.name} is {'not there' if text is None else 'no PEM certificate'}"
        raise UserError("spec.storage.caSecretRef", problem, "put the server's CA certificate there, as PEM")
    file = directory / "authorities" / f"{sha256(text.encode()).hexdigest()[:32]}.crt"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    return file


def access(run: MSMRun, config: StoreConfig, installation: Installation) -> Access:
    """What pods of a run mount to reach its store."""
    if not config.uri.startswith("s3://"):
        return Access()
    storage = run.spec.storage
    if storage is None or not has_own_store(run, installation.store):
        shared = installation.ca_config_map
        return Access(installation.store_secret, {"configMap": {"name": shared}} if shared is not None else None)
    own, authority = storage.secret_ref, storage.ca_secret_ref
    return Access(own.name if own is not None else None, _volume(authority) if authority is not None else None)


def _volume(ref: KeyRef) -> Mapping[str, Any]:
    return {"secret": {"secretName": ref.name, "items": [{"key": ref.key, "path": CA_FILE}]}}


def check_tracking(run: MSMRun, installation: Installation) -> None:
    """Nothing, unless a run's MLflow cannot be asked for reasons of credentials.

    Raises:
        UserError: the run brings a credential, or a server that the installation's would be shown to.
    """
    said = run.spec.tracking
    if said is not None and said.secret_ref is not None:
        problem = "is not read in a cluster: MLflow takes one credential a process, and the operator's is the installation's"
        raise UserError("spec.tracking.secretRef", problem, "leave it out")
    if said is None or said.uri is None or not installation.has_tracking_credential:
        return
    if said.uri.rstrip("/") != (installation.tracking_uri or "").rstrip("/"):
        problem = f'"{said.uri}" is not this installation\'s MLflow, and would be shown its credential'
        raise UserError("spec.tracking.uri", problem, "leave it out")


def _decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    """The data of a Secret as text; what is no text is left out."""
    found: dict[str, str] = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            found[name] = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeDecodeError):
            log.warning("key %s of a Secret is no text and is not used", name)
    return found
