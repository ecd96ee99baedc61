"""What the end-to-end run says of itself, and the images it writes without a builder."""

from pathlib import Path

import pytest

from tests.e2e.node import images, machine, settings
from tests.e2e.node.components import Component
from tests.e2e.node.layout import Layout
from tests.e2e.record import Broken, Record


def test_a_page_marks_what_does_not_hold_and_names_what_was_not_run() -> None:
    record = Record()
    with record.part("one"):
        record.check("it works", True, "seen | this")
        record.check("this too", False)
    record.leave_out("two", "stands on one")
    page = record.page("make e2e", [("Python", "3")])
    assert "1 of 2 findings hold" in page
    assert "| one | this too | **no** |" in page
    assert "seen / this" in page
    assert "- two: stands on one" in page


def test_a_part_that_breaks_is_a_finding_and_the_next_one_runs() -> None:
    record = Record()
    with record.part("outer"):
        with record.part("inner"):
            raise Broken("no end")
        record.check("goes on", True)
    assert [(one.part, one.what, one.holds) for one in record.failed] == [("inner", "runs to its end", False)]
    assert record.findings[-1].part == "outer"


def test_a_mistake_of_the_test_itself_is_a_finding_that_does_not_hold() -> None:
    """An hour of other parts is not lost to it; the call's exit code says so."""
    record = Record()
    with record.part("one"):
        raise KeyError("name")
    assert [(found.part, found.seen) for found in record.failed] == [("one", "KeyError: 'name'")]


def test_the_same_programs_make_the_same_archive_and_it_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF")
    one, two = (
        images.of_programs(tmp_path / name, "localhost/p:1", {"p": tmp_path / "program"}, ["/p"]) for name in ("one.tar", "two.tar")
    )
    assert one.read_bytes() == two.read_bytes()
    assert list(images.contents(one)) == ["localhost/p:1"]
    (tmp_path / "program").write_bytes(b"\x7fELF other")
    other = images.of_programs(tmp_path / "other.tar", "localhost/p:1", {"p": tmp_path / "program"}, ["/p"])
    assert images.contents(other) != images.contents(one)


def test_settings_point_nowhere_outside_of_the_node_but_to_the_store_of_images(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "node", tmp_path / "images")
    settings.write(layout, "/usr/sbin/runc")
    told = layout.directory.joinpath("containerd.toml").read_text()
    paths = [word.strip('"') for word in told.split() if word.startswith('"/')]
    assert {path for path in paths if not path.startswith((str(tmp_path), "/usr/"))} == set()
    assert settings.kubelet(layout)["clusterDNS"] == [layout.address]


def test_who_is_not_root_is_told_so_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    (said,) = machine.lacks("core", "node")
    assert "root" in said


def test_a_component_waits_for_addresses_and_never_for_time() -> None:
    assert Component("c", ("c",)).after == ()
