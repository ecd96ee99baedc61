"""The model hub through `huggingface_hub`, its errors made ours.

Neighbours: `clients` has the protocol; `msm.data.fetch_model` asks for snapshots. Invariant: only a commit is ever downloaded, never a
moving branch. The library is imported where used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from msm.errors import TryAgain, UserError
from msm.resolve.addresses import Hf

Got = TypeVar("Got")


class NotReadable(UserError):
    """The hub shows this address to nobody without the right token, or has no such address: it does not say which."""


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """`Hub` over the `HfApi`-like client that `connect` makes when it is first needed."""

    connect: Callable[[], Any]

    def commit(self, address: Hf, field: str) -> str:
        """The commit of a revision.

        Raises:
            UserError: no such repository or revision, or no right to read it.
            TryAgain: the hub cannot be reached.
        """
        kind = _kind(address)
        info = self._call(lambda: self.connect().repo_info(address.repo, revision=address.revision, repo_type=kind), address, field)
        if not info.sha:
            raise UserError(field, f"{address} has no commit", "check the repository on the hub")
        return str(info.sha)

    def file(self, address: Hf, field: str, cache: Path) -> Path:
        """One file of a repository at a commit."""
        got = self._call(
            lambda: self.connect().hf_hub_download(
                address.repo, address.inner, revision=address.revision, repo_type=_kind(address), cache_dir=cache / "hub"
            ),
            address,
            field,
        )
        return Path(got)

    def snapshot(self, address: Hf, field: str, cache: Path, patterns: tuple[str, ...]) -> Path:
        """The matching files of a repository at a commit."""
        got = self._call(
            lambda: self.connect().snapshot_download(
                address.repo, revision=address.revision, cache_dir=cache / "hub", allow_patterns=list(patterns)
            ),
            address,
            field,
        )
        return Path(got)

    def _call(self, ask: Callable[[], Got], address: Hf, field: str) -> Got:
        try:
            return ask()
        except Exception as error:
            raise converted(error, address, field) from error


def _kind(address: Hf) -> str:
    return "dataset" if address.dataset else "model"


def converted(error: Exception, address: Hf, field: str) -> Exception:
    """Our error for one of the hub's; what is not the hub's comes back unchanged."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return NotReadable(field, f"{address} is gated", "accept its terms on the hub and set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(field, f"{address} has no revision {address.revision!r}", "check the revision")
    if isinstance(error, errors.RepositoryNotFoundError):
        return NotReadable(field, f"the hub has no repository {address.repo!r}, or HF_TOKEN may not read it", "check name and token")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return UserError(field, f"{address.repo} has no file {address.inner!r}", "check the path")
    if isinstance(error, errors.HFValidationError):
        return UserError(field, f"{address} is not a valid repository name", "write hf://organisation/name")
    if isinstance(error, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, OSError)) or _is_transport(error):
        return TryAgain(f"{field}: the hub did not answer for {address} ({_brief(error)}); check the connection, or use a mirror")
    return error


def _is_transport(error: Exception) -> bool:
    """Whether the HTTP library under the hub's client raised it (which library that is changed between releases)."""
    return any(base.__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "requests") for base in type(error).__mro__)


def _brief(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
