"""Takes out of the operator's environment what it never loads, and compiles what it loads: a third of the size.

Run while the image is built (images/operator/Dockerfile). Neighbour: `make test-images` has the operator import all of itself from the
result. Invariant: what is named here is never imported by the operator, nor by what it imports; `LOADED` is imported from the result, so
that a library which begins to need more ends the build. Bytecode is written for what was loaded alone, with unchecked hashes: file times in
an image are not to be trusted, and on a read-only root Python could not write any.

    python slim.py      (the interpreter of the environment)
"""

import importlib
import py_compile
import shutil
import sys
import sysconfig
from pathlib import Path

UNUSED = {
    "**/tests": "tests",
    "**/SelfTest": "tests",
    "Crypto/PublicKey": "minio encrypts for administrators only, and with symmetric keys",
    "databricks/sdk/": "MLflow looks for the package's name alone, unless it is to talk to Databricks",
    "kubernetes/aio/client/api/*_api.py": "objects stay dicts (docs/design/operator-runtime.md)",
    "kubernetes/aio/client/models/[a-z]*.py": "the same",
    "kubernetes/client/api/*_api.py": "the same",
    "kubernetes/client/models/[a-z]*.py": "the same",
    "scipy/[a-z]*/": "all but the functions of `special`",
}
KEPT = ("scipy/special",)
LOADED = (
    "aiohttp", "certifi", "docker", "httpx2", "huggingface_hub.hf_api", "jinja2", "kubernetes.aio.client.configuration",
    "kubernetes.aio.client.rest", "kubernetes.aio.config", "minio", "mlflow", "mlflow.tracking.client", "mlflow.store.tracking.rest_store",
    "mlflow.store.model_registry.rest_store", "mlflow.store.artifact.mlflow_artifacts_repo", "numpy", "pydantic", "scipy.special",
    "tokenizers", "torchx.specs", "urllib3", "yaml",
)  # fmt: skip


def remove(site: Path) -> None:
    """Delete what is not used."""
    kept = {site / name for name in KEPT}
    for pattern in UNUSED:
        for path in sorted(site.glob(pattern)):
            if path in kept or not path.exists():
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def compile_loaded(site: Path) -> None:
    """Write bytecode for every module that importing brought in."""
    for name in LOADED:
        importlib.import_module(name)
    places = {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    for path in sorted(place for place in places if place.suffix == ".py" and place.is_relative_to(site)):
        py_compile.compile(str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def main() -> int:
    """Slim the environment that runs this."""
    site = Path(sysconfig.get_path("purelib"))
    remove(site)
    compile_loaded(site)
    return 0


if __name__ == "__main__":
    sys.exit(main())
