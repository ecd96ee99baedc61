"""The program that builds images: what a tag depends on, what is built when, what it says where it cannot."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "images" / "build.py"
FAKE_BUILDAH = """#!{python}
# A fake buildah: writes down what it is told, and makes an empty archive where it is to push one.
import pathlib, sys
told = sys.argv[7:]
with open("{log}", "a") as log:
    print(" ".join(told), file=log)
if told[0] == "images" and "--json" in told:
    print('[{{"size": "12.5 MB"}}]')
if told[0] == "images" and "--format" in told:
    print("localhost/msm-operator:0123456789ab localhost/msm-trainer:0123456789ab-cpu")
for word in told:
    if word.startswith("docker-archive:") and told[-1] == word:
        pathlib.Path(word.split(":")[1]).write_bytes(b"")
if "--digestfile" in told:
    pathlib.Path(told[told.index("--digestfile") + 1]).write_text("sha256:" + "0" * 64)
"""


def load(path=BUILD, name="build_images"):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build():
    return load()


@pytest.fixture
def checkout(tmp_path):
    """A copy of what images are made of, to change at will."""
    for name in ("images", "msm", "operator", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / "it" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / "it" / name)
    return tmp_path / "it"


def tags(checkout, accelerator="cpu", base=None):
    module = load(checkout / "images" / "build.py", "build_images_of_a_copy")
    found = module.images(module.Choice(base, accelerator))
    return {name: image.tag for name, image in found.items()}


def run(cache, *arguments, path=""):
    environment = {**os.environ, "MSM_IMAGES_DIR": str(cache), "UV_CACHE_DIR": str(cache / "wheels"), "PATH": str(path)}
    return subprocess.run([sys.executable, str(BUILD), *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def with_fake(tmp_path):
    """A directory with a fake buildah, and its log."""
    program, log = tmp_path / "bin" / "buildah", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(FAKE_BUILDAH.format(python=sys.executable, log=log))
    program.chmod(0o755)
    return program.parent, log


def test_a_tag_changes_with_what_goes_in_and_with_nothing_else(checkout):
    before = tags(checkout)
    (checkout / "msm" / "__pycache__").mkdir()
    (checkout / "msm" / "__pycache__" / "x.pyc").write_text("")
    (checkout / "README.md").write_text("new")
    assert tags(checkout) == before
    (checkout / "operator" / "msm_operator" / "main.py").write_text("")
    after = tags(checkout)
    assert {name for name in before if before[name] != after[name]} == {"operator"}
    (checkout / "requirements" / "uv.lock.txt").write_text("")
    assert {name for name in before if after[name] == tags(checkout)[name]} == set()


def test_a_tag_depends_on_base_and_accelerator(checkout):
    cpu, cuda, other = tags(checkout), tags(checkout, "cuda"), tags(checkout, base="registry.example/python:3.11")
    assert cpu["operator"] == cuda["operator"]
    assert re.fullmatch(r"[0-9a-f]{12}-cpu", cpu["trainer"])
    assert re.fullmatch(r"[0-9a-f]{12}-cuda", cuda["trainer"])
    assert cpu["trainer"][:12] != cuda["trainer"][:12]
    assert other["operator"] != cpu["operator"]


def test_everything_that_a_dockerfile_copies_is_listed(build):
    for image in build.images(build.Choice(None, "cpu")).values():
        listed = [*image.said.get("files", ()), *image.said.get("binaries", ())]
        copied = re.findall(r"(?m)^COPY (?!--from)(?:--\S+ )*(.+) \S+$", (image.directory / "Dockerfile").read_text())
        for source in " ".join(copied).split():
            assert any(entry == source or entry.startswith(f"{source}/") for entry in listed), (image.name, source)


def test_gpu_clusters_get_no_server_of_ours(build):
    assert [image.name for image in build.chosen([], build.Choice(None, "cuda"))] == ["operator", "trainer"]
    assert [image.name for image in build.chosen([], build.Choice(None, "cpu"))] == ["operator", "serve", "trainer"]
    with pytest.raises(SystemExit, match="serve is not made for cuda"):
        build.chosen(["serve"], build.Choice(None, "cuda"))


def test_an_unknown_image_is_said_with_those_that_there_are(tmp_path):
    said = run(tmp_path, "oprator")
    assert said.returncode == 1
    assert "no image oprator; there are operator, serve, trainer" in said.stderr


def test_without_buildah_it_skips_with_the_reason(tmp_path):
    said = run(tmp_path, "operator")
    assert said.returncode == 69
    assert "skipped: buildah is not on PATH" in said.stderr
    assert "apt-get install buildah" in said.stderr


def test_without_mmdebstrap_there_is_no_local_base(tmp_path, with_fake):
    said = run(tmp_path / "cache", "--base", "local", "operator", path=with_fake[0])
    assert said.returncode == 69
    assert "mmdebstrap is not on PATH" in said.stderr


def test_what_changed_is_built_once_and_found_again(tmp_path, with_fake):
    path, log = with_fake
    assert run(tmp_path / "cache", "operator", path=path).returncode == 0
    told = log.read_text()
    assert told.count("bud ") == 1
    assert run(tmp_path / "cache", "operator", path=path).returncode == 0
    assert log.read_text() == told
    found = json.loads(run(tmp_path / "cache", "operator", "--where").stdout)["operator"]
    assert Path(found["tar"]).exists()
    assert found["image"] == f"localhost/msm-operator:{found['tag']}"
    assert found["mb"] == 12


def test_what_is_older_of_the_same_image_goes_and_others_stay(tmp_path, with_fake):
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("operator-0123456789ab.tar", "operator-0123456789ab.json", "trainer-0123456789ab-cpu.tar"):
        (cache / name).write_text("{}")
    run(cache, "operator", path=with_fake[0])
    assert [line for line in with_fake[1].read_text().splitlines() if line.startswith("rmi")] == ["rmi localhost/msm-operator:0123456789ab"]
    left = {path.name for path in cache.iterdir() if "0123456789ab" in path.name}
    assert left == {"trainer-0123456789ab-cpu.tar"}


def test_a_build_sees_only_what_is_listed(build, tmp_path):
    image = build.images(build.Choice(None, "cuda"))["serve"]
    build.stage(image, tmp_path)
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {"images/cpu_lock.py", "images/torch_cpu.py", "requirements/serve.lock.txt", "requirements/uv.lock.txt"}


def test_what_is_published_is_built_first_and_named_by_digest(build, tmp_path, with_fake, monkeypatch):
    path, log = with_fake
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("MSM_IMAGES_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "wheels"))
    monkeypatch.setattr(build, "VALUES", tmp_path / "build" / "images.yaml")
    assert build.main(["operator", "--push", "registry.example/team"]) == 0
    told = log.read_text().splitlines()
    tag = build.images(build.Choice(None, "cuda"))["operator"].tag
    assert [line.split()[0] for line in told if line.startswith(("bud", "push"))] == ["bud", "push", "push"]
    assert told[-1].endswith(f"localhost/msm-operator:{tag} docker://registry.example/team/msm-operator:{tag}")
    assert "digest: sha256:" + "0" * 64 in build.VALUES.read_text()


def test_values_for_the_chart_name_every_image_by_digest(build):
    found = build.images(build.Choice(None, "cpu"))
    said = build.values("registry.example/team", {name: (found[name], "sha256:" + "a" * 64) for name in ("operator", "serve")})
    import yaml

    images = yaml.safe_load(said)["images"]
    assert images["registry"] == "registry.example/team"
    assert images["operator"] == {"repository": "msm-operator", "tag": found["operator"].tag, "digest": "sha256:" + "a" * 64}
    assert images["serve"]["registry"] == "registry.example/team"
