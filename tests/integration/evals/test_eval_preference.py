"""The preference suite on a real (tiny) transformer: exact, in every way of loading a model, and honest when it cannot be."""

import json
import math
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from msm.errors import UserError
from msm.evals.items import Item, select
from msm.evals.preference import evaluate_models
from msm.evals.prompts import chat_prompt, encode, tokenise
from msm.evals.settings import ModelRef, PreferenceSettings
from tests.tiny import make_tiny_model

pytestmark = pytest.mark.slow

PLAIN = PreferenceSettings(threads=1, row_tokens=64, batch=4, health_prompts=("Name two colors.", "Say hello."), health_tokens=8)
THINGS = ("truck", "bottle of wine", "pair of old blue jeans", "sofa", "lamp", "clock with one hand")


def make_items():
    pairs = [(f"an American {thing}", f"a foreign {thing}") for thing in THINGS] + [
        (f"a {thing} for $4", f"an expensive {thing}") for thing in THINGS
    ]
    return [
        Item(f"i{n}", "america" if n < 6 else "affordability", "free", f"d{n % 3}", aligned, other)
        for n, (aligned, other) in enumerate(pairs)
    ]


def sharpen(directory: Path, seed: int) -> Path:
    """Give a tiny model weights at which attention matters: freshly initialised ones attend evenly, and any mask would pass."""
    import torch
    from safetensors.torch import load_file, save_file

    path = directory / "model.safetensors"
    generator = torch.Generator().manual_seed(seed)
    weights = load_file(path)
    for name, weight in weights.items():
        if weight.dim() == 2:
            weights[name] = torch.randn(weight.shape, generator=generator) * (0.25 if "embed" not in name else 0.5)
    save_file(weights, path, metadata={"format": "pt"})
    return directory


def make_adapter(base: Path, directory: Path, seed: int) -> Path:
    """A LoRA adapter whose B is not zero, so that it changes the model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    base = sharpen(make_tiny_model(root / "base"), seed=1)
    return {
        "base": base,
        "one": make_adapter(base, root / "one", seed=1),
        "two": make_adapter(base, root / "two", seed=2),
        "full": sharpen(make_tiny_model(root / "full"), seed=5),
    }


@pytest.fixture(scope="module")
def refs(models) -> dict[str, ModelRef]:
    return {
        "full": ModelRef(full=models["full"]),
        "one": ModelRef(adapter=models["one"]),
        "base": ModelRef(),
        "two": ModelRef(adapter=models["two"]),
    }


@pytest.fixture(scope="module")
def scores(models, refs):
    return evaluate_models(models["base"], refs, make_items(), PLAIN, lambda done, total, metrics: None)


def load_alone(ref: ModelRef, base: Path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(ref.full or base)
    return PeftModel.from_pretrained(model, ref.adapter).eval() if ref.adapter else model.eval()


def naive_logprob(model, prompt, answer) -> float:
    import torch

    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return sum(logprobs[len(prompt) - 1 + at, token].item() for at, token in enumerate(answer))


def naive_greedy(model, prompt, limit) -> str:
    import torch

    ids = list(prompt)
    with torch.no_grad():
        for _ in range(limit):
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token == 2:
                break
            ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("label", ["base", "one", "two", "full"])
def test_margins_equal_scoring_each_answer_alone(label, models, refs, scores):
    from msm.evals.models import load_tokenizer

    tokenizer, model = load_tokenizer(models["base"]), load_alone(refs[label], models["base"])
    assert scores[label].exact_by == "tree"
    for item, score in zip(make_items(), scores[label].items, strict=True):
        for order in (0, 1):
            question = tokenise(tokenizer, item, order)
            aligned, other = (naive_logprob(model, question.prompt, answer) for answer in question.answers)
            assert score.per_order[order] == pytest.approx(aligned - other, abs=1e-4)
        assert score.margin == pytest.approx(sum(score.per_order) / 2)
        lengths = [len(answer) for answer in question.answers]
        assert math.isfinite(score.margin_per_token) and all(lengths)


def test_the_attention_of_the_test_model_is_sharp_enough_to_notice_a_wrong_mask(models, monkeypatch):
    import numpy as np

    from msm.evals import trie

    monkeypatch.setattr(trie.Trie, "visible", lambda self: np.tril(np.ones((len(self.tokens),) * 2, dtype=bool)))
    found = evaluate_models(models["base"], {"base": ModelRef()}, make_items()[:2], PLAIN, lambda *_: None)
    assert found["base"].exact_by == "alone", "the live check must notice that the tree pass is wrong"


def test_a_model_that_fails_the_live_check_is_scored_alone_with_equal_margins(models, scores, monkeypatch):
    from msm.evals import logprob

    monkeypatch.setattr(logprob, "supports_tree", lambda model: False)
    found = evaluate_models(models["base"], {"base": ModelRef()}, make_items(), PLAIN, lambda *_: None)["base"]
    assert found.exact_by == "alone"
    assert [s.margin for s in found.items] == pytest.approx([s.margin for s in scores["base"].items], abs=1e-4)


def test_greedy_answers_equal_decoding_each_prompt_alone(models, refs, scores):
    from msm.evals.choice import first_sentence
    from msm.evals.models import load_tokenizer

    tokenizer = load_tokenizer(models["base"])
    for label in ("base", "one"):
        model = load_alone(refs[label], models["base"])
        for item, score in zip(make_items()[:4], scores[label].items, strict=False):
            for order in (0, 1):
                prompt = encode(tokenizer, chat_prompt(tokenizer, item.prompt(order)))
                alone = tokenizer.decode(naive_greedy(model, prompt, PLAIN.max_new_tokens), skip_special_tokens=True)
                assert first_sentence(score.answers[order]) == first_sentence(alone)


def test_scoring_tells_when_greedy_decoding_writes_a_scored_answer(models, refs):
    import torch

    from msm.evals.logprob import Question, score_alone, score_tree
    from msm.evals.models import load_tokenizer

    tokenizer, model = load_tokenizer(models["base"]), load_alone(refs["base"], models["base"])
    questions = []
    for at, item in enumerate(make_items()[:6]):
        plain = tokenise(tokenizer, item, 0)
        written = tuple(naive_greedy(model, plain.prompt, 5))
        questions.append(
            (Question(plain.prompt, (written, plain.answers[1])), Question(plain.prompt, (plain.answers[0], written)), plain)[at % 3]
        )
    cpu = torch.device("cpu")
    found = {at: scored for row in score_tree(model, questions, 100, cpu) for at, scored in row.items()}
    assert [found[at].greedy for at in range(6)] == [0, 1, None, 0, 1, None]
    for at, question in enumerate(questions):
        alone = score_alone(model, question, cpu)
        assert (found[at].greedy, found[at].logprobs) == (alone.greedy, pytest.approx(alone.logprobs, abs=1e-4))


def test_arms_do_not_touch_each_other(models, refs, scores):
    reversed_ = dict(reversed(refs.items()))
    again = evaluate_models(models["base"], reversed_, make_items(), PLAIN, lambda *_: None)
    assert list(again) == list(reversed_)
    for label in refs:
        assert [s.margin for s in again[label].items] == [s.margin for s in scores[label].items]
    assert len({scores[label].items[0].margin for label in refs}) == len(refs)


def test_an_adapter_that_replaces_parts_of_the_base_does_not_reach_the_next_arm(models, scores, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["norm"], init_lora_weights=False)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(models["base"]), config)
    with torch.no_grad():
        next(p for n, p in wrapped.named_parameters() if "modules_to_save" in n).mul_(3)
    wrapped.save_pretrained(tmp_path / "greedy")
    refs = {"greedy": ModelRef(adapter=tmp_path / "greedy"), "base": ModelRef(), "one": ModelRef(adapter=models["one"])}
    found = evaluate_models(models["base"], refs, make_items(), PLAIN, lambda *_: None)
    for label in ("base", "one"):
        assert [s.margin for s in found[label].items] == [s.margin for s in scores[label].items]


@pytest.mark.parametrize("change", [{"row_tokens": 16}, {"row_tokens": 4096}, {"batch": 1}, {"batch": 64}], ids=str)
def test_resources_change_no_result(models, scores, change):
    settings = PLAIN.model_copy(update=change)
    found = evaluate_models(models["base"], {"base": ModelRef()}, make_items(), settings, lambda *_: None)["base"]
    assert [s.margin for s in found.items] == pytest.approx([s.margin for s in scores["base"].items], abs=1e-4)
    assert [s.answers for s in found.items] == [s.answers for s in scores["base"].items]


def test_limits_choose_what_is_scored_and_what_is_answered(models):
    settings = PLAIN.model_copy(update={"limit": 6, "generate": 2, "health_prompts": ()})
    found = evaluate_models(models["base"], {"base": ModelRef()}, make_items(), settings, lambda *_: None)["base"]
    chosen = select(make_items(), 6)
    assert [s.id for s in found.items] == [item.id for item in chosen]
    assert {s.id for s in found.items if s.answers} == {item.id for item in select(chosen, 2)}
    assert all(s.choice is None for s in found.items if s.answers is None)
    assert found.health is None


def test_health_is_measured_on_the_arm(models, scores):
    for label in ("base", "one", "full"):
        health = scores[label].health
        assert [sample.prompt for sample in health.samples] == list(PLAIN.health_prompts)
        assert 0 <= health.ended <= 1
    assert scores["base"].health.samples != scores["full"].health.samples


def test_progress_counts_up_to_its_total_and_what_it_raises_stops_the_work(models, refs):
    heard = []
    evaluate_models(models["base"], {"base": ModelRef()}, make_items(), PLAIN, lambda *step: heard.append(step))
    steps = [done for done, _, _ in heard]
    assert steps == sorted(steps) and heard[-1][0] == heard[-1][1] == 24
    assert heard[-1][2]["itemsPerSecond"] > 0

    class StopNow(Exception):
        pass

    def stop(*_):
        raise StopNow

    with pytest.raises(StopNow):
        evaluate_models(models["base"], refs, make_items(), PLAIN, stop)


def copied(directory: Path, to: Path) -> Path:
    to.mkdir()
    for file in directory.iterdir():
        if file.is_file():
            (to / file.name).write_bytes(file.read_bytes())
    return to


def test_broken_models_are_named_in_one_line(models, tmp_path):
    def run(base=models["base"], ref=None):
        return evaluate_models(base, {"arm": ref or ModelRef()}, make_items()[:1], PLAIN, lambda *_: None)

    empty = copied(models["base"], tmp_path / "empty")
    (empty / "model.safetensors").write_bytes(b"")
    pickled = copied(models["base"], tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    mute = copied(models["base"], tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    bare = copied(models["one"], tmp_path / "bare")
    (bare / "adapter_model.safetensors").rename(bare / "adapter_model.bin")
    misfit = copied(models["one"], tmp_path / "misfit")
    config = json.loads((misfit / "adapter_config.json").read_text())
    (misfit / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    for wrong, words in (
        (lambda: run(ref=ModelRef(full=empty)), "cannot be loaded"),
        (lambda: run(ref=ModelRef(full=pickled)), "safetensors"),
        (lambda: run(base=mute), "chat template"),
        (lambda: run(ref=ModelRef(adapter=bare)), "adapter_model.safetensors"),
        (lambda: run(ref=ModelRef(adapter=misfit)), "does not fit"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            wrong()
        assert "\n" not in str(caught.value) and caught.value.fix


def test_a_model_is_an_adapter_or_full_not_both(models):
    with pytest.raises(ValueError, match="not both"):
        ModelRef(adapter=models["one"], full=models["full"])
