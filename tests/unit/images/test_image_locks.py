"""What images are made of: the laptop's versions, everything that is imported, nothing that is not pinned, no root."""

import re
from importlib import metadata
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKS = ROOT / "requirements"
DOCKERFILES = sorted([*ROOT.glob("images/*/Dockerfile"), *ROOT.glob("tests/e2e/images/*/Dockerfile")])
GPU_ONLY = {"cuda-bindings", "cuda-pathfinder", "nvidia-cusolver", "nvidia-nvtx", "triton"}
"""What the laptop leaves out of torch's CUDA build (requirements/lock.sh)."""


def entries(lock: str) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Name -> versions with their markers, and hashes, of a lock."""
    found: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    for block in re.split(r"(?m)^(?=[a-z0-9])", (LOCKS / lock).read_text())[1:]:
        name, version = block.splitlines()[0].rstrip(" \\").split("==", 1)
        versions, hashes = found.get(name, (frozenset(), frozenset()))
        found[name] = versions | {version}, hashes | set(re.findall(r"--hash=(\S+)", block))
    return found


def bare(versions: frozenset[str]) -> set[str]:
    """Versions without the markers, which say for whom alone they are."""
    return {version.split(" ;")[0] for version in versions}


@pytest.mark.parametrize("image", ["operator", "trainer"])
def test_an_image_has_the_laptops_versions_and_hashes(image):
    laptop, mine = entries("laptop.lock.txt"), entries(f"{image}.lock.txt")
    assert set(mine) - set(laptop) <= GPU_ONLY
    for name in set(mine) & set(laptop):
        assert bare(mine[name][0]) <= bare(laptop[name][0]), name
        assert mine[name][1] <= laptop[name][1], name


def test_what_trains_and_what_serves_have_the_same_torch():
    assert entries("trainer.lock.txt")["torch"] == entries("serve.lock.txt")["torch"]


def test_the_operator_has_no_torch():
    heavy = [name for name in entries("operator.lock.txt") if name.startswith(("nvidia", "torch", "transformers")) and "torchx" not in name]
    assert heavy == []


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("msm", "msm_operator", include_external_packages=True, cache_dir=None)


@pytest.mark.parametrize(("image", "program"), [("operator", "msm_operator"), ("trainer", "msm.stages")])
def test_an_image_has_everything_that_its_program_may_import(graph, image, program):
    unasked = {"msm.llm.client"} if image == "operator" else set()  # pods ask language models
    reached = {module for module in graph.modules if module == program or module.startswith(f"{program}.")}
    todo = set(reached)
    while todo:
        todo = {found for module in todo for found in graph.find_modules_directly_imported_by(module)} - reached - unasked
        reached |= todo
    provided_by = metadata.packages_distributions()
    theirs = {module for module in reached if graph.is_module_squashed(module) and module in provided_by}
    locked = set(entries(f"{image}.lock.txt"))
    missing = {module for module in theirs if not {re.sub(r"[-_.]+", "-", name).lower() for name in provided_by[module]} & locked}
    assert "pydantic" in theirs
    assert missing == set()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_runs_as_nobody_and_installs_only_what_is_hashed(dockerfile):
    text = dockerfile.read_text()
    final = re.split(r"(?m)^FROM ", text)[-1]
    if dockerfile.parent.name != "base":
        assert "USER 65532:65532" in final
    ours = re.compile(r"--no-deps --compile-bytecode -b requirements/\w+\.lock\.txt --target /app \.")
    for command in re.findall(r"pip install [^\n]*", text):
        assert "--require-hashes" in command or ours.search(command), command


@pytest.mark.parametrize("image", ["operator", "trainer", "serve"])
def test_an_image_is_built_in_stages_and_says_what_it_is(image):
    text = (ROOT / "images" / image / "Dockerfile").read_text()
    assert text.count("\nFROM ") >= 2
    for label in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{label}=" in text


def test_no_image_names_the_place_that_packages_come_from():
    for path in [*DOCKERFILES, *LOCKS.glob("*.lock.txt"), *ROOT.glob("tests/e2e/images/*/requirements.lock.txt")]:
        assert not re.search(r"https?://", path.read_text()), path
