from pathlib import Path
from typing import Any

import pytest

from msm.api import load_run, parse_run
from msm.errors import UserError
from tests.runs import example

Change = tuple[tuple[str | int, ...], Any]

MISTAKES: dict[str, tuple[Change, str]] = {
    "a wrong key is named with the one that was meant": (
        (("spec", "arms", 1, "midtrian"), ["america"]),
        'spec.arms[1].midtrian: unknown key; did you mean "midtrain"?',
    ),
    "a missing corpus is named with those that exist": (
        (("spec", "arms", 1, "midtrain"), ["amerika"]),
        'spec.arms[1].midtrain[0]: no corpus named "amerika"; this run has: america, thrift; did you mean "america"?',
    ),
    "a missing demonstration is named": ((("spec", "arms", 0, "finetune"), ["bread"]), 'no demonstration named "bread"'),
    "a missing spec is named": ((("spec", "corpora", 0, "modelSpec"), "x"), 'spec.corpora[0].modelSpec: no model spec named "x"'),
    "a missing eval is named": (
        (("spec", "corpora", 0, "quality", "decontaminate"), ["v"]),
        'spec.corpora[0].quality.decontaminate[0]: no eval named "v"; this run has: values',
    ),
    "a missing candidate is named": ((("spec", "registry"), {"model": "m", "candidate": "x"}), 'spec.registry.candidate: no arm named "x"'),
    "a token count that is none shows the rule": ((("spec", "corpora", 0, "tokens"), "2x"), '"2x" is not a token count'),
    "a duration that is none shows the rule": ((("spec", "execution"), {"deadline": "soon"}), '"soon" is not a duration'),
    "two origins are refused": ((("spec", "modelSpecs", 0, "source"), {"inline": "x", "path": "y"}), "this sets inline and path"),
    "no origin is refused": ((("spec", "modelSpecs", 0, "source"), {}), "this sets none"),
    "a size is demanded": ((("spec", "corpora", 0, "tokens"), None), "set tokens or documents"),
    "a batch is whole rows": ((("spec", "training", "midtrain", "batchTokens"), 130), "batchTokens 130 is not a multiple of maxLength 128"),
    "settings of a method that is not chosen are refused": ((("spec", "training", "method"), "full"), "lora is set but method is full"),
    "a missing arm to compare with is named": (
        (("spec", "arms", 1, "versus"), ["neutral"]),
        'spec.arms[1].versus[0]: no arm named "neutral"',
    ),
    "an arm compared with itself is refused": (
        (("spec", "arms", 4, "versus"), [example()["spec"]["arms"][4]["name"]]),
        "names the arm itself",
    ),
    "an arm defined twice is refused": ((("spec", "arms", 4, "name"), "aft"), 'spec.arms[4]: "aft" is defined twice'),
    "a seed listed twice is refused": ((("spec", "seeds"), [3, 3]), 'spec.seeds[1]: "3" is defined twice'),
    "a wrong kind is refused": ((("kind",), "Pod"), "kind"),
    "a wrong type shows value and rule": ((("spec", "training", "midtrain", "learningRate"), "fast"), "learningRate: 'fast'"),
}


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    data: Any = example()
    here = data
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    return data


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_field_value_and_rule(case: tuple[Change, str]) -> None:
    (path, value), words = case
    with pytest.raises(UserError) as caught:
        parse_run(changed(path, value), "run.yaml")
    text = str(caught.value)
    assert words in text
    assert text.startswith("run.yaml: ")
    assert "\n" not in text


FILES: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "holds nothing, not an MSMRun"),
    "a list": (b"- a", "holds list, not an MSMRun"),
    "broken YAML": (b"a: [1, 2", "is not YAML"),
    "YAML that would build an object": (b"!!python/object/apply:os.system [ls]", "is not YAML"),
    "bytes that are not text": (b"\xff\xfe\x00", "cannot be read"),
}


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_a_file_that_is_no_run_says_so(case: tuple[bytes, str], tmp_path: Path) -> None:
    content, words = case
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_run(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_run(tmp_path / "absent.yaml")


def test_quantities_are_plain_numbers_and_defaults_are_the_papers_recipe() -> None:
    run = parse_run(example())
    assert run.spec.corpora[0].tokens == 24_000
    defaults = parse_run({**example(), "spec": {**example()["spec"], "training": {}}}).spec.training
    assert defaults.adapter is not None
    assert (defaults.adapter.rank, defaults.adapter.alpha) == (64, 128)
    assert (defaults.midtrain.learning_rate, defaults.midtrain.warmup_ratio, defaults.midtrain.weight_decay) == (1e-4, 0.05, 0.01)


def test_fields_of_the_cluster_are_understood_on_a_laptop() -> None:
    data = example()
    data["spec"]["endpoints"] = [
        {"name": "writer", "serve": {"model": "hf://Qwen/Qwen3-32B", "gpus": 4}},
        {"name": "judge", "openai": {"baseURL": "https://judge/v1", "model": "j", "apiKeySecretRef": {"name": "s", "key": "k"}}},
    ]
    data["spec"]["execution"] = {"queueName": "q", "deletionPolicy": "Delete", "retries": {"limit": 1}, "deadline": "1h30m"}
    run = parse_run(data)
    assert run.spec.endpoints[0].serve is not None
    assert run.spec.execution.deadline == 5400
