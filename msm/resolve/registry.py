"""Registered model versions through MLflow, its errors made ours.

Neighbours: `clients` has the protocol. Invariant: what is returned names a version, never an alias. The library is imported where used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msm.errors import TryAgain, UserError
from msm.resolve.clients import Version


@dataclass(frozen=True, slots=True)
class MlflowRegistry:
    """`Registry` over the `MlflowClient`-like client that `connect` makes when it is first needed."""

    connect: Callable[[], Any]

    def version(self, name: str, alias: str | None, number: str | None, field: str) -> Version:
        """The version that an alias points at now, or the one with that number.

        Raises:
            UserError: no such model, version or alias.
            TryAgain: the registry cannot be reached.
        """
        from mlflow.exceptions import MlflowException

        wanted = f"models:/{name}@{alias}" if number is None else f"models:/{name}/{number}"
        try:
            client = self.connect()
            found = client.get_model_version_by_alias(name, alias) if number is None else client.get_model_version(name, number)
        except MlflowException as error:
            raise _converted(error, wanted, field) from error
        return Version(str(found.version), str(found.source))


def _converted(error: Any, wanted: str, field: str) -> Exception:
    if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
        return UserError(field, f"the registry has no {wanted}", "list what it has with `msm models`")
    return TryAgain(f"{field}: the registry did not answer for {wanted} ({error.error_code}); check tracking.uri, then run again")
