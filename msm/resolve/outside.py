"""The clients of this machine, made when they are first needed.

Neighbours: executors and the fetch stage call `local_clients` and hand the result down. Invariant: making the record imports no library
and opens no connection.
"""

from collections.abc import Callable
from functools import cache as once
from pathlib import Path
from typing import Any

from msm.resolve.clients import Bucket, Clients
from msm.resolve.hub import HuggingFace
from msm.resolve.registry import MlflowRegistry
from msm.resolve.wheels import PipWheels, pip_command


def local_clients(cache: Path, bucket: Callable[[str], Bucket] | None = None, tracking_uri: str | None = None) -> Clients:
    """Clients with downloads under `cache`; `bucket` opens a bucket by name, `tracking_uri` is the model registry's address."""
    registry = None if tracking_uri is None else MlflowRegistry(once(lambda: _mlflow(tracking_uri)))
    return Clients(cache=cache, wheels=PipWheels(pip_command()), hub=HuggingFace(once(_hub)), bucket=bucket, registry=registry)


def _hub() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def _mlflow(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)
