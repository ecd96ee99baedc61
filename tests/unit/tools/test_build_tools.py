"""The program that builds the control plane: pins, keys, and what it says when it cannot build."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).resolve().parents[3] / "tools" / "build.py"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_tools", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_tools"] = module
    spec.loader.exec_module(module)
    return module


def run(cache: Path, *arguments: str, go: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "MSM_TOOLS_DIR": str(cache), "GO": go or str(cache / "no-go")}
    return subprocess.run([sys.executable, str(BUILD), *arguments], env=environment, capture_output=True, text=True, check=False)


def test_what_is_stamped_is_what_is_pinned(build: ModuleType) -> None:
    for tool in build.TOOLS:
        stamped = [stamp.split("=")[1] for stamp in tool.stamps if stamp.split("=")[0].endswith((".gitVersion", ".version"))]
        assert set(stamped) <= {tool.version}, tool.name


def test_every_key_is_of_its_own_pins(build: ModuleType) -> None:
    keys = [tool.key for tool in build.TOOLS]
    assert len(set(keys)) == len(keys)
    assert keys == [tool.key for tool in build.TOOLS]


def test_without_go_it_says_so_and_exits_69(tmp_path: Path) -> None:
    done = run(tmp_path, "core")
    assert done.returncode == 69
    assert "no Go compiler on PATH" in done.stderr


def test_a_spent_budget_exits_75_and_names_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "--budget", "-1", "core")
    assert done.returncode == 75
    assert "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl" in done.stderr


def test_where_says_only_what_is_complete(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSM_TOOLS_DIR", str(tmp_path))
    etcd = next(tool for tool in build.TOOLS if tool.name == "etcd")
    directory = build.place(etcd) / "bin"
    directory.mkdir(parents=True)
    (directory / ".etcd.part").touch()
    assert json.loads(run(tmp_path, "--where").stdout) == {}
    (directory / ".etcd.part").rename(directory / "etcd")
    assert json.loads(run(tmp_path, "--where").stdout) == {"etcd": str(directory / "etcd")}


def test_an_interrupted_build_leaves_nothing_that_counts(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\nfor last; do :; done\nwhile [ "$1" != -o ]; do shift; done\necho half > "$2"\nexit 1\n')
    go.chmod(0o755)
    done = run(tmp_path / "cache", "core", go=str(go))
    assert done.returncode == 1
    assert "etcd" in done.stderr
    assert json.loads(run(tmp_path / "cache", "--where").stdout) == {}


def test_an_unknown_set_is_refused_by_name(tmp_path: Path) -> None:
    done = run(tmp_path, "coer")
    assert done.returncode == 2
    assert "no set coer; there are core, train" in done.stderr
