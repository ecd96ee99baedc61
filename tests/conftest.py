"""Lanes: a plain `pytest` runs the fast lane, says what it left out and what to type for it; what is named on the command line is run."""

from pathlib import Path

import pytest

CLUSTER = Path(__file__).parent / "cluster"
LANES = {"cluster": "make test-cluster", "images": "make test-images", "long": "make test-long", "vllm": "make test-vllm"}
LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config, items):
    for item in items:
        if CLUSTER in item.path.parents:
            item.add_marker("cluster")
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.markexpr:
        return
    lanes = {item: next((lane for lane in LANES if item.get_closest_marker(lane)), None) for item in items}
    other = [item for item, lane in lanes.items() if lane]
    config.stash[LEFT_OUT] = {lane: count for lane in LANES if (count := sum(found == lane for found in lanes.values()))}
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item, lane in lanes.items() if not lane]


def pytest_terminal_summary(terminalreporter, config):
    for lane, count in config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.write_line(f"{lane} lane: {count} tests were not run here; type: {LANES[lane]}")
