"""Training with real DeepSpeed on one and two ranks: exact losses, exact resume, outputs that others can load."""

import json

import pytest

METHODS = ("lora", "full")
WORLDS = (1, 2)


def numbers(run):
    return [float.fromhex(loss) for loss in run["losses"]]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_training_gives_the_uninterrupted_losses_to_the_last_bit(trained, method, world):
    result = trained[1][world][method]
    assert result["whole"]["kind"] == "done"
    assert result["first"]["kind"] == "preempted"
    assert 0 < result["first"]["step"] < result["whole"]["step"]
    assert result["second"]["kind"] == "done"
    assert result["first"]["losses"] == result["whole"]["losses"][: result["first"]["step"]]
    assert result["second"]["losses"] == result["whole"]["losses"]


@pytest.mark.parametrize("method", METHODS)
def test_one_rank_and_two_give_the_same_losses(trained, method):
    one, two = (numbers(trained[1][world][method]["whole"]) for world in WORLDS)
    assert one == pytest.approx(two, rel=2e-6)


def test_one_batch_and_its_micro_batches_give_the_same_losses_on_any_number_of_ranks_and_zero_stage(trained):
    runs = [run for world in WORLDS for run in trained[1][world]["batches"].values()]
    runs += [trained[1][1]["zero 1"], trained[1][2]["zero 0"]]
    for run in runs:
        assert numbers(run) == pytest.approx(numbers(runs[0]), rel=2e-6)
        assert run["norms"] == pytest.approx(runs[0]["norms"], rel=1e-4)


def test_activations_that_are_computed_again_give_the_same_losses(trained):
    for world in WORLDS:
        for method, run in trained[1][world]["recomputed"].items():
            assert numbers(run) == pytest.approx(numbers(trained[1][world][method]["whole"]), rel=2e-6)


def test_zero_1_and_2_give_the_same_losses(trained):
    assert numbers(trained[1][2]["zero 1"]) == pytest.approx(numbers(trained[1][2]["full"]["whole"]), rel=2e-6)


def test_a_checkpoint_of_two_ranks_is_continued_by_one(trained):
    taken_up, whole = trained[1][1]["taken up"], trained[1][2]["lora"]["whole"]
    assert numbers(taken_up) == pytest.approx(numbers(whole), rel=2e-6)


def test_the_loss_is_the_mean_over_the_global_batchs_tokens(trained):
    results = trained[1][1]
    assert numbers(results["batches"]["1"])[0] == pytest.approx(results["first loss"], rel=1e-6)


def test_training_lowers_the_loss(trained):
    losses = numbers(trained[1][1]["full"]["whole"])
    assert losses[-1] < losses[0] - 0.1


def test_packed_documents_do_not_see_each_other(trained):
    result = trained[1][1]["isolation"]
    assert result["documents"] > 2
    assert result["isolated"] < 1e-5 < 1e-3 < result["joined"]


def test_rounding_frozen_weights_once_changes_nothing_under_autocast(trained):
    assert trained[1][1]["autocast"] is True
    losses = numbers(trained[1][1]["bfloat16"])
    assert losses == pytest.approx(numbers(trained[1][1]["lora"]["whole"]), rel=1e-2)


@pytest.mark.parametrize("world", WORLDS)
def test_what_cannot_be_trained_is_said_in_one_line_and_leaves_no_output(trained, world):
    errors = trained[1][world]["errors"]
    assert "spec.training.midtrain.learningRate: 1e+30: the" in errors["nan"]["text"]
    assert "at update" in errors["nan"]["text"]
    assert "lower the learning rate" in errors["nan"]["text"]
    assert "rank 8, alpha 16, but the adapter to continue has rank 4, alpha 8" in errors["other rank"]["text"]
    assert "other learningRate" in errors["other settings"]["text"]
    assert not any(error["out"] for error in errors.values())


def test_checkpoints_hold_safetensors_and_json_only_and_no_machine_path(trained):
    from pathlib import Path

    for world in WORLDS:
        directory = Path(trained[1][world]["lora"]["checkpoint"])
        names = {path.name for path in directory.iterdir()}
        state = {f"optimizer-rank{rank}.safetensors" for rank in range(world)}
        assert names == {"parameters.safetensors", "progress.jsonl", "checkpoint.json"} | state
        assert str(trained[0]) not in (directory / "checkpoint.json").read_text()


def test_finetuning_continues_the_midtrained_adapter(trained):
    from pathlib import Path

    from safetensors.numpy import load_file

    chain = trained[1][1]["chain"]
    before, after = (load_file(Path(chain[stage]) / "adapter_model.safetensors") for stage in ("midtrain", "finetune"))
    assert before.keys() == after.keys()
    for name in before:
        assert abs(after[name] - before[name]).max() < 0.05
    assert any(abs(after[name] - before[name]).max() > 0 for name in before)
    assert chain["run"]["kind"] == "done"


def test_an_adapter_directory_is_pefts_and_names_no_machine(trained):
    from pathlib import Path

    directory = Path(trained[1][2]["chain"]["finetune"])
    config = json.loads((directory / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "hf://a/b@1"
    assert (config["r"], config["lora_alpha"], sorted(config["target_modules"])[0]) == (4, 8, "down_proj")
    for path in directory.iterdir():
        assert str(trained[0]).encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o644


def test_training_json_tells_what_was_done(trained):
    from pathlib import Path

    directory = Path(trained[1][2]["chain"]["finetune"])
    told = json.loads((directory / "training.json").read_text())
    assert told["updates"] == len(told["losses"]) == len((directory / "metrics.jsonl").read_text().splitlines())
    assert told["continuesAdapter"] is True
    assert not {"seconds", "tokensPerSecond", "versions", "resources"} & set(told), "equal trainings leave equal bytes"
    (first, *_) = (json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines())
    assert set(first) == {"step", "totalSteps", "loss", "learningRate", "gradientNorm", "tokens"}
    assert 0 < told["targetTokens"] < told["tokens"]
    assert f"finetune has {told['updates']} updates, under 200" in told["warnings"][0]


@pytest.mark.slow
def test_outputs_load_in_the_libraries_that_others_use(trained):
    from pathlib import Path

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root, results = trained
    base = AutoModelForCausalLM.from_pretrained(root / "model", dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(base, results[1]["chain"]["finetune"])(input_ids=ids).logits
        full_directory = Path(results[1]["full"]["out"])
        full = AutoModelForCausalLM.from_pretrained(full_directory, dtype=torch.float32)(input_ids=ids).logits
    assert not torch.equal(plain, adapted)
    assert not torch.equal(plain, full)
    messages = [{"role": "user", "content": "Hi"}]
    tokenizers = [AutoTokenizer.from_pretrained(directory) for directory in (full_directory, root / "model")]
    assert tokenizers[0].apply_chat_template(messages, tokenize=False) == tokenizers[1].apply_chat_template(messages, tokenize=False)


@pytest.mark.slow
def test_our_rendering_of_chats_is_transformers_own(trained):
    from transformers import AutoTokenizer

    from msm.data.chat import encode_chat, load_template
    from msm.data.rows import read_chats
    from msm.data.tokens import load_tokenizer

    ours, theirs = load_tokenizer(trained[0] / "model"), AutoTokenizer.from_pretrained(trained[0] / "model")
    template = load_template(ours)
    for chat in read_chats([trained[0] / "chats.jsonl"])[:2]:
        turns = [{"role": message.role, "content": message.content} for message in chat.messages]
        assert encode_chat(chat, ours, template)[0] == theirs.apply_chat_template(turns, return_dict=False)
