"""Where a laptop keeps things: one directory, `.msm` beside where `msm` is called.

Neighbours: every module of `msm.local` takes paths from here. Invariant: everything under it but `store` and `mlflow.db` may be deleted
at any time at no cost but time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msm.api import MSMRun
from msm.store.config import StoreConfig


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths below one state directory."""

    root: Path

    @property
    def cache(self) -> Path:
        """Downloads and materialised inputs."""
        return self.root / "cache"

    @property
    def scratch(self) -> Path:
        """Working directories of attempts; each is removed when its attempt ends."""
        return self.root / "scratch"

    def report(self, uid: str) -> Path:
        """Directory of a run's report, a copy of what the store keeps."""
        return self.root / "runs" / uid

    @property
    def default_store(self) -> str:
        """URI of the store of runs that name none."""
        return f"file://{(self.root / 'store').resolve()}"

    def default_config(self, environ: Mapping[str, str]) -> StoreConfig:
        """The store of runs that name none."""
        return StoreConfig.from_environ({**environ, "MSM_STORE_URI": environ.get("MSM_STORE_URI", self.default_store)})

    def store_config(self, run: MSMRun, environ: Mapping[str, str]) -> StoreConfig:
        """The store of a run: what its file says, credentials and CA from the environment."""
        storage = run.spec.storage
        if storage is None:
            return self.default_config(environ)
        said = {"MSM_STORE_URI": storage.uri, "MSM_STORE_ENDPOINT": storage.endpoint, "MSM_STORE_REGION": storage.region}
        return StoreConfig.from_environ({**environ, **{name: value for name, value in said.items() if value is not None}})


def workspace(environ: Mapping[str, str], directory: Path) -> Workspace:
    """The workspace of a working directory; MSM_HOME overrides it."""
    return Workspace(Path(environ["MSM_HOME"]) if "MSM_HOME" in environ else directory / ".msm")
