"""Addresses of inputs: hf://, pypi://, s3://, file://, models:/, pvc://.

Pure. Neighbours: `inputs` resolves them, `msm.data.fetch_model` reads what they name. Invariant: `parse(str(address)) == address`.
Cost: one regular expression.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from msm.errors import UserError

SCHEMES = ("file://", "hf://", "models:/", "pvc://", "pypi://", "s3://")
"""What an input may be, in the order errors list it."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_HF = re.compile(r"hf://(?P<data>datasets/)?(?P<repo>[\w.-]+/[\w.-]+)(?P<inner>(?:/[^@#]+)?)(?:@(?P<revision>[^@#]+))?")
_PYPI = re.compile(
    r"pypi://(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)(?P<inner>(?:/[^#]+)?)(?:#sha256=(?P<sha256>[0-9a-f]{64}))?"
)
_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>.+?)/*")
_MODEL = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>\d+))")


@dataclass(frozen=True, slots=True)
class Hf:
    """A repository on the model hub, or one file in it; `revision` may be a branch, a tag or a commit."""

    repo: str
    revision: str | None = None
    inner: str = ""
    dataset: bool = False

    def __str__(self) -> str:
        inner = f"/{self.inner}" if self.inner else ""
        return f"hf://{'datasets/' if self.dataset else ''}{self.repo}{inner}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True)
class Pypi:
    """A wheel of the package index, or one file in it; `sha256` pins the wheel."""

    name: str
    version: str
    sha256: str | None = None
    inner: str = ""

    @property
    def project(self) -> str:
        """The name in the index's normal form."""
        return re.sub(r"[-_.]+", "-", self.name).lower()

    def __str__(self) -> str:
        inner = f"/{self.inner}" if self.inner else ""
        return f"pypi://{self.name}=={self.version}{inner}" + (f"#sha256={self.sha256}" if self.sha256 else "")


@dataclass(frozen=True, slots=True)
class S3:
    """An object, or all objects under a prefix."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class File:
    """A file or directory of this machine, absolute."""

    path: Path

    def __str__(self) -> str:
        return f"file://{quote(str(self.path))}"


@dataclass(frozen=True, slots=True)
class Registered:
    """A version in the model registry, by number or by alias."""

    name: str
    version: str | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"models:/{self.name}" + (f"/{self.version}" if self.version else f"@{self.alias}")


@dataclass(frozen=True, slots=True)
class Pvc:
    """A path on a volume of the cluster."""

    path: str

    def __str__(self) -> str:
        return f"pvc://{self.path}"


Address = Hf | Pypi | S3 | File | Registered | Pvc


def parse(uri: str, field: str, base: Path | None = None) -> Address:
    """Read an address; a plain path counts as file, relative to `base`.

    Raises:
        UserError: unknown scheme, or an address that lacks a part; names `field`.
    """
    found = _SCHEME.match(uri)
    if found is None:
        return File(_absolute(Path(uri), field, base))
    match found[1].lower():
        case "hf":
            return _hf(uri, field)
        case "pypi":
            return _pypi(uri, field)
        case "s3":
            m = _matched(_S3, uri, field, "s3://bucket/key")
            return S3(m["bucket"], m["key"])
        case "models":
            m = _matched(_MODEL, uri, field, "models:/name@alias or models:/name/3")
            return Registered(m["name"], m["version"], m["alias"])
        case "pvc":
            return Pvc(uri.removeprefix("pvc://"))
        case "file":
            return _file(uri, field, base)
    raise UserError(field, f"{uri!r} has the unknown scheme {found[1]!r}", f"use one of {', '.join(SCHEMES)} or a path")


def _hf(uri: str, field: str) -> Hf:
    m = _matched(_HF, uri, field, "hf://organisation/name, with @revision at the end if wanted")
    return Hf(m["repo"], m["revision"], _inner(m["inner"], uri, field), bool(m["data"]))


def _pypi(uri: str, field: str) -> Pypi:
    m = _matched(_PYPI, uri, field, "pypi://package==version, with #sha256=<64 hex digits> at the end if wanted")
    return Pypi(m["name"], m["version"], m["sha256"], _inner(m["inner"], uri, field))


def _file(uri: str, field: str, base: Path | None) -> File:
    if not uri.startswith("file://"):
        raise UserError(field, f"{uri!r} is not an address of a file", "write file:///absolute/path")
    return File(_absolute(Path(unquote(uri.removeprefix("file://"))), field, base))


def _matched(pattern: re.Pattern[str], uri: str, field: str, form: str) -> re.Match[str]:
    found = pattern.fullmatch(uri)
    if found is None:
        raise UserError(field, f"{uri!r} is incomplete or malformed", f"write {form}")
    return found


def _inner(path: str, uri: str, field: str) -> str:
    inner = path.strip("/")
    if ".." in inner.split("/"):
        raise UserError(field, f"{uri!r} has '..' in its path", "name the file from the top")
    return inner


def _absolute(path: Path, field: str, base: Path | None) -> Path:
    if path.is_absolute():
        return path
    if base is None:
        raise UserError(field, f"{str(path)!r} is a relative path", "write file:///absolute/path")
    return (base / path).absolute()
