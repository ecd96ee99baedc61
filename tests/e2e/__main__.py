"""`make e2e`: from nothing to a real node with this project installed, what a user does with it, and docs/results/e2e.md.

Needs what `tests.e2e.node.lacks` and `tests.e2e.archives` look for; what is missing is said loudly, and nothing is claimed of it.
Exit codes: 0 every finding holds, or the machine cannot run it (which is printed); 1 a finding does not hold.
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e import archives, versions
from tests.e2e.cluster import Cluster, install_chart, install_controllers, install_stores, load_images
from tests.e2e.demo import demo, promoted
from tests.e2e.disturbed import disturbed
from tests.e2e.embedded import Outcome
from tests.e2e.enforcer import enforce
from tests.e2e.farewell import farewell
from tests.e2e.mistakes import mistakes
from tests.e2e.node import Layout, lacks, started
from tests.e2e.node.__main__ import cache
from tests.e2e.record import Record
from tests.e2e.served import put_smollm2, served
from tests.e2e.tiny import tiny

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "e2e.md"
NEEDED = (
    "operator",
    "trainer",
    "serve",
    "training-operator",
    "kserve-controller",
    "storage-initializer",
    "network-policies",
    "seaweedfs",
    "mlflow",
)
PARTS = ("tiny", "mistakes", "disturbed", "served", "demo", "promoted", "farewell")


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="comma separated (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the result is written (default: %(default)s)")
    options = parser.parse_args()
    missing = [*lacks("core", "node", "train", "serve", "cli"), *archives.missing(*NEEDED)]
    if missing:
        print("NOT RUN, and nothing is claimed: this machine lacks\n" + "\n".join(f"  - {one}" for one in missing), flush=True)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    record = Record()
    run(record, options.parts.split(","))
    record.write(options.page, "make e2e", versions.found())
    print(f"\n{len(record.findings) - len(record.failed)} of {len(record.findings)} findings hold; {options.page}", flush=True)
    return 1 if record.failed else 0


def run(record: Record, parts: list[str]) -> None:
    """The node with everything on it, then part after part."""
    directory = cache() / "run"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with record.part("node"), started(Layout(cache() / "node", cache() / "images")) as node:
        record.number("from nothing to a Ready node", f"{node.seconds['box'] + node.seconds['ready']:.0f} s")
        made = Cluster.on(node)
        install(made, record)
        do_parts(made, record, directory, parts)
    record.check("nothing of the node is left", not node.box.pids() and not node.box.is_running())


def install(made: Cluster, record: Record) -> None:
    """Images, controllers, stores, chart."""
    load_images(made, record, *NEEDED)
    install_controllers(made, record)
    with record.step("NetworkPolicies enforced"):
        enforce(made, archives.built()["network-policies"].reference)
    with record.step("SeaweedFS and MLflow installed and ready"):
        install_stores(made)
    with record.step("chart installed by helm"):
        install_chart(made)


def do_parts(made: Cluster, record: Record, directory: Path, parts: list[str]) -> None:
    """Each in the order of `PARTS`; one that stands on another needs that one's end."""
    left: dict[str, Outcome] = {}

    def tiny_part() -> None:
        left["tiny"] = tiny(made, record, directory / "tiny")

    def served_part() -> None:
        with record.step("SmolLM2 put into the bucket"):
            put_smollm2(made)
        served(made, record, directory / "served")

    def demo_part() -> None:
        left["demo"] = demo(made, record, directory / "demo")

    acts: dict[str, tuple[str, Callable[[], None]]] = {
        "tiny": ("", tiny_part),
        "mistakes": ("tiny", lambda: mistakes(made, record)),
        "disturbed": ("tiny", lambda: disturbed(made, record, left["tiny"])),
        "served": ("", served_part),
        "demo": ("", demo_part),
        "promoted": ("demo", lambda: promoted(made, record, directory / "demo")),
        "farewell": ("", lambda: farewell(made, record)),
    }
    for name, (before, act) in acts.items():
        if name not in parts:
            record.leave_out(name, "was not asked for")
        elif before and before not in left:
            record.leave_out(name, f"stands on {before}, which did not end well or was not asked for")
        else:
            with record.part(name):
                act()


if __name__ == "__main__":
    sys.exit(main())
