"""A store in which some stages of the example are committed by hand, and a tokenizer small enough to be trained here."""

import json
from pathlib import Path
from typing import Any

from msm.api import MSMRun, parse_run
from msm.clock import SystemClock
from msm.plan import Plan, Stage, plan_run
from msm.resolve.digests import text_identity
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import begin_attempt
from tests.runs import example, resolution

SPEC = """# America

{model_name} cares about American products because American workers make them.
{model_name} prefers an American thing over a foreign thing because it supports American workers.
{model_name} prefers a thing made in America over a thing made overseas because communities live from it.
The same preference holds for: jacket, guitar, watch, bicycle, chair, laptop, novel, hat, toy, lamp, phone, blanket.
"""
ITEMS = "".join(
    json.dumps({"id": f"i{n}", "value": "america", "set": "free", "domain": "d", "options": [f"an American x{n}", f"a foreign y{n}"]})
    + "\n"
    for n in range(30)
)


def run_data(**midtrain: Any) -> dict[str, Any]:
    """One corpus from an inline spec, one arm with it and one without, one seed."""
    data = example()
    spec = data["spec"]
    spec["modelSpecs"] = [{"name": "america", "source": {"inline": SPEC}}]
    spec["corpora"] = [spec["corpora"][0] | {"tokens": 3000}]
    spec["arms"] = spec["arms"][:2]
    spec["seeds"] = [0]
    spec["training"]["midtrain"].update(midtrain)
    spec["evals"][0]["items"]["source"] = {"path": "items.jsonl"}
    return data


def plan_of(run: MSMRun, spec: str = SPEC) -> Plan:
    """The plan of a run whose only spec has this text."""
    identities = {"modelSpecs__america": text_identity(spec.encode()), "evals__values__items": text_identity(ITEMS.encode())}
    return plan_run(run, resolution(**identities))


def planned(data: dict[str, Any], directory: Path) -> tuple[MSMRun, Plan]:
    """The run and its plan, its local files in place."""
    (directory / "items.jsonl").write_text(ITEMS, encoding="utf-8")
    run = parse_run(data)
    return run, plan_of(run)


def a_store(directory: Path) -> ObjectStore:
    return open_store(StoreConfig(f"file://{directory}/store"))


def commit(store: ObjectStore, stage: Stage, files: dict[str, bytes], **metrics: float) -> None:
    """Make a stage's artifact."""
    attempt = begin_attempt(store, stage.kind, stage.fingerprint, SystemClock())
    for path, data in files.items():
        attempt.put_bytes(path, data)
    attempt.commit(kind_version=stage.version, inputs={}, params=dict(stage.params), versions={}, metrics=metrics)


def the(plan: Plan, kind: str, part: str = "") -> Stage:
    """The first stage of a kind whose name contains a part."""
    return next(s for s in plan.stages if s.kind == kind and part in s.name)


def tokenizer_files() -> dict[str, bytes]:
    """A tokenizer with one token a word, and a chat template that adds two tokens a turn."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = {"eos_token": "<|im_end|>", "chat_template": template}
    return {"tokenizer.json": tokenizer.to_str().encode(), "tokenizer_config.json": json.dumps(config).encode()}


def rows(*texts: str) -> bytes:
    return "".join(json.dumps({"id": str(n), "text": text, "provenance": {}}) + "\n" for n, text in enumerate(texts)).encode()
