"""Wheels from the package index that this machine is set up for, through its ordinary client.

Runs `python -m pip download` in a subprocess, or the pip that uv brings where the environment has none; both read the machine's own index
configuration, so no host is named here. Neighbours: `clients` has the protocol. Invariant: a file under its final name in the cache is
whole. Cost: one download per (name, version), a hash of the wheel per call.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msm.errors import IntegrityError, TryAgain, UserError
from msm.resolve.addresses import Pypi
from msm.resolve.digests import file_sha256

Command = Callable[[Sequence[str]], tuple[int, str]]
"""Runs a command line, returns (exit status, what it said)."""

_NOT_THERE = re.compile(r"no matching distribution found|could not find a version", re.I)
_UNREACHABLE = re.compile(
    r"connection (broken|refused|reset|aborted|error)|NewConnectionError|max retries|timed out|temporary failure|unreachable"
    r"|SSLError|ProxyError|too many requests|\b5\d\d (server )?error",
    re.I,
)
SECONDS = 900.0
"""Longest download."""


def pip_command() -> tuple[str, ...] | None:
    """How to call pip here: this environment's, or the one uv brings; None when there is neither."""
    if importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    return None if uv is None else (uv, "tool", "run", "--quiet", "pip")


def pip_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for pip: an index that is configured for uv alone is pip's too; no prompt may wait for an answer."""
    index = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    ours = {"PIP_NO_INPUT": "1"} | ({"PIP_INDEX_URL": index} if index else {})
    return {**ours, **environ}


def run_command(command: Sequence[str]) -> tuple[int, str]:
    """Run a command without a terminal; 124 when it takes longer than SECONDS."""
    try:
        environ = pip_environment(os.environ)
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return 124, f"timed out after {SECONDS:.0f} s"
    return done.returncode, done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class PipWheels:
    """`Wheels` through pip."""

    pip: tuple[str, ...] | None
    run: Command = run_command

    def wheel(self, address: Pypi, field: str, cache: Path) -> Path:
        """The wheel in the cache.

        Raises:
            UserError: no such package, version or wheel, or no pip here.
            TryAgain: the index cannot be reached.
            IntegrityError: the index served other bytes than the address pins.
        """
        home = cache / "wheels" / f"{address.project}-{address.version}"
        found = next(iter(sorted(home.glob("*.whl"))), None) or self._download(address, field, home)
        digest = file_sha256(found)
        if address.sha256 is not None and digest != address.sha256:
            found.unlink()
            raise IntegrityError(
                f"{field}: {address.name}=={address.version} has SHA-256 {digest}, the address pins {address.sha256}; "
                "the copy was removed; check the pin, then run again"
            )
        return found

    def _download(self, address: Pypi, field: str, home: Path) -> Path:
        if self.pip is None:
            raise UserError(field, f"{address} needs pip or uv, this environment has neither", "install one of them")
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=home.parent) as partial:
            requirement = f"{address.name}=={address.version}"
            options = ("--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check", "--dest", partial)
            status, said = self.run((*self.pip, "download", *options, requirement))
            if status != 0:
                raise failure(said, field, requirement)
            wheel = next(iter(sorted(Path(partial).glob("*.whl"))), None)
            if wheel is None:
                raise UserError(field, f"{requirement} came without a wheel", "name a package that has one")
            home.mkdir(exist_ok=True)
            return wheel.replace(home / wheel.name)


def failure(said: str, field: str, requirement: str) -> UserError | TryAgain:
    """The error that pip's last words mean: an unreachable index is worth another try, a missing version is not."""
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "no message")[:300]
    if _UNREACHABLE.search(said):
        return TryAgain(f"{field}: the package index did not give {requirement} ({last}); check the connection, then run again")
    if _NOT_THERE.search(said):
        return UserError(field, f"the package index has no wheel for {requirement}", "check name and version, and that Python matches")
    return TryAgain(f"{field}: pip could not download {requirement} ({last}); try `pip download --no-deps {requirement}` by hand")
