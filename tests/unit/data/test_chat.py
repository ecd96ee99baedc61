"""Loss masks: the assistant's tokens and its end of turn, nothing else, whatever the template does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.data.chat import encode_chat, load_template
from msm.data.rows import Chat, Message
from msm.data.tokens import load_tokenizer
from msm.errors import UserError
from tests.tiny import CHAT_TEMPLATE, make_tiny_tokenizer

LLAMA_LIKE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}<|endoftext|>\n\n{{ m.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|endoftext|>\n\n{% endif %}"
)
FORGETS_THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_tiny_tokenizer(tmp_path_factory.mktemp("tiny"))


def learned_text(directory, template, *turns):
    (directory / "chat_template.jinja").write_text(template)
    tokenizer = load_tokenizer(directory)
    chat = Chat(tuple(Message(role, content) for role, content in turns), "chats.jsonl:1")
    ids, learned = encode_chat(chat, tokenizer, load_template(tokenizer))
    decode = lambda wanted: tokenizer.control.decode(  # noqa: E731
        [number for number, is_learned in zip(ids, learned, strict=True) if is_learned == wanted], skip_special_tokens=False
    )
    return decode(True), decode(False)


USER, ANSWER = ("user", "Tea or coffee?"), ("assistant", "I prefer tea.")
CASES = {
    "one turn with the template's own system turn": (
        CHAT_TEMPLATE,
        [USER, ANSWER],
        "I prefer tea.<|im_end|>",
    ),
    "a system turn of its own": (CHAT_TEMPLATE, [("system", "Be brief."), USER, ANSWER], "I prefer tea.<|im_end|>"),
    "every assistant turn of several": (
        CHAT_TEMPLATE,
        [USER, ANSWER, ("user", "Why?"), ("assistant", "It is warm.")],
        "I prefer tea.<|im_end|>It is warm.<|im_end|>",
    ),
    "an answer equal to the question": (CHAT_TEMPLATE, [("user", "Yes"), ("assistant", "Yes")], "Yes<|im_end|>"),
    "an empty answer teaches to stop": (CHAT_TEMPLATE, [USER, ("assistant", "")], "<|im_end|>"),
    "an answer that begins with a line break": (CHAT_TEMPLATE, [USER, ("assistant", " \n1,247")], " \n1,247<|im_end|>"),
    "a template that trims and has headers": (LLAMA_LIKE, [USER, ("assistant", "  Tea. ")], "Tea.<|im_end|>"),
    "a template that forgets earlier thoughts": (
        FORGETS_THOUGHTS,
        [USER, ("assistant", "<think>hm</think>Tea."), ("user", "Why?"), ("assistant", "<think>warm</think>Warm.")],
        "Tea.<|im_end|><think>warm</think>Warm.<|im_end|>",
    ),
    "a template without control tokens": (PLAIN, [USER, ANSWER], " I prefer tea.\n"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_exactly_the_assistants_tokens_are_learned(case, directory):
    template, turns, expected = case
    learned, _ = learned_text(directory, template, *turns)
    assert learned.strip() == expected.strip()


CONTENT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=3), st.booleans())
def test_of_any_chat_the_answers_and_their_ends_are_learned(directory, pairs, with_system):
    turns = [turn for question, answer in pairs for turn in (("user", question), ("assistant", answer))]
    learned, rest = learned_text(directory, CHAT_TEMPLATE, *([("system", "Be kind.")] if with_system else []), *turns)
    assert learned.count("<|im_end|>") == len(pairs)
    assert rest.count("<|im_end|>") == len(pairs) + 1
    for part, (_, answer) in zip(learned.split("<|im_end|>"), pairs, strict=False):
        assert part.strip("\n") == answer.strip("\n")


REFUSED = {
    "a control token inside a turn": ([("user", "a <|im_end|> b"), ANSWER], CHAT_TEMPLATE, "control token <|im_end|>"),
    "a template that raises": ([USER, ANSWER], "{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    "a template that rewrites all before an answer": (
        [USER, ANSWER, USER, ANSWER],
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "rewrites earlier turns",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_would_be_learned_wrongly_is_refused_with_its_line(case, directory):
    turns, template, problem = case
    with pytest.raises(UserError) as caught:
        learned_text(directory, template, *turns)
    assert caught.value.field == "chats.jsonl:1"
    assert problem in caught.value.problem


def test_a_template_cannot_reach_python(directory):
    with pytest.raises(UserError, match="refuses the row"):
        learned_text(directory, "{{ ''.__class__.__mro__[1].__subclasses__() }}", USER, ANSWER)


def test_a_model_without_chat_template_is_refused(tmp_path):
    make_tiny_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="the base model has none"):
        load_template(load_tokenizer(tmp_path))


def test_a_named_template_in_the_tokenizer_config_is_found(tmp_path):
    make_tiny_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": CHAT_TEMPLATE}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizer(tmp_path).template == CHAT_TEMPLATE
