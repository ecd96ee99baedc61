"""The machines of one training: how many there are, and whether this one leads.

The training operator describes a rendezvous by PET_* variables, which torchrun reads by itself; this module checks them and settles
what they leave open. The machine that hosts the rendezvous leads: attempt, heartbeat, checkpoints and commit are that one's. Neighbours:
`processes` starts torchrun, `stages` follows or leads. Invariant: exactly one machine leads, torchrun's word and ours agree. No torch.
Cost: one name looked up.
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msm.errors import UserError

WAIT_SECONDS = 1800
"""How long machines wait for each other at the start: images are pulled and models downloaded at different speeds."""
CONFIGURATION = "PET_RDZV_CONF"
WAITS = {"join_timeout": str(WAIT_SECONDS), "read_timeout": str(WAIT_SECONDS)}
YES, NO = ("1", "true", "t", "yes", "y"), ("0", "false", "f", "no", "n")


@dataclass(frozen=True, slots=True)
class Machines:
    """`count` machines with as many ranks each; `settings`: what torchrun's environment needs besides what is there."""

    count: int = 1
    leads: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)


def this_machine_has(host: str) -> bool:
    """Whether a name or an address is this machine's: an address that a socket can be bound to."""
    if host in ("localhost", socket.gethostname()):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_binds(family, address[0]) for family, _, _, _, address in found)


def _binds(family: int, address: object) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def read_machines(count: int, environ: Mapping[str, str], ours: Callable[[str], bool] = this_machine_has) -> Machines:
    """The machines of a training on `count` of them; one needs no rendezvous, whatever the environment says.

    Raises:
        UserError: a variable is missing or does not describe a rendezvous of `count` machines.
    """
    if count == 1:
        return Machines()
    _expect(environ, "PET_NNODES", (str(count), f"{count}:{count}"))
    _expect(environ, "PET_RDZV_BACKEND", ("c10d",))
    host, configuration = _endpoint(environ), _configuration(environ.get(CONFIGURATION, ""))
    leads = _stated(configuration) if "is_host" in configuration else ours(host)
    settled = {**WAITS, **configuration, "is_host": str(int(leads))}
    return Machines(count, leads, {CONFIGURATION: ",".join(f"{key}={value}" for key, value in settled.items())})


def _expect(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> None:
    found = environ.get(name)
    if found not in allowed:
        problem = "is not set" if found is None else f'is "{found}"'
        raise UserError(name, f"{problem}; a training on several machines needs {' or '.join(allowed)}", _FIX)


_FIX = "let the operator start it, or give every machine torchrun's PET_* variables of one c10d rendezvous"


def _endpoint(environ: Mapping[str, str]) -> str:
    host, _, port = environ.get("PET_RDZV_ENDPOINT", "").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError("PET_RDZV_ENDPOINT", f'"{environ.get("PET_RDZV_ENDPOINT", "")}" is not host:port', _FIX)
    return host.removeprefix("[").removesuffix("]")


def _configuration(text: str) -> dict[str, str]:
    """`key=value,…` as torchrun reads it."""
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not key.strip() or not value.strip() for key, _, value in parts):
        raise UserError(CONFIGURATION, f'"{text}" is not key=value,key=value', _FIX)
    return {key.strip(): value.strip() for key, _, value in parts}


def _stated(configuration: Mapping[str, str]) -> bool:
    value = configuration["is_host"].lower()
    if value not in YES + NO:
        raise UserError(CONFIGURATION, f'is_host is "{value}"', "write 1 on the machine that hosts the rendezvous, 0 on the others")
    return value in YES
