"""`make chaos`: the operator killed, by injection and for real. The last line is one JSON object; exit code 1 when anything was lost.

usage: python -m tests.chaos.operator [--seed N] [--injected N] [--kills N]

Crashes are injected in this process in virtual time (`operator_injections`); kills are SIGKILLs of two replicas on a real control plane
(`operator_kills`), which must have been built (`make cluster-tools`). With PYTHONHASHSEED=0 a seed of the first part is one story.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence

from tests.chaos.operator_verdict import OperatorVerdict

KEYS = ("kills", "injected", "lost", "duplicates", "stuck")


def main(arguments: Sequence[str]) -> int:
    """Both parts, or what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.operator", description="kills and injected crashes, counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--injected", type=int, default=1000, help="injected crashes, at least; 0: none")
    parser.add_argument("--kills", type=int, default=50, help="real SIGKILLs; 0: none")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    began, total = time.monotonic(), OperatorVerdict()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {line}", flush=True)

    if options.injected:
        from tests.chaos.operator_injections import inject

        total.add(inject(options.injected, options.seed, say))
    if options.kills:
        from tests.chaos.operator_kills import kill

        total.add(kill(options.kills, options.seed, say))
    if total.different:
        say(f"{total.different} stories ended otherwise than undisturbed")
    found = {key: getattr(total, key) for key in KEYS}
    print(json.dumps(found | {"lost": total.lost + total.different}), flush=True)
    return 0 if total.good else 1


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, "-m", "tests.chaos.operator", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main(sys.argv[1:]))
