"""What the model thinks and says to a question, and whether that may be learned from.

Over `asking`; `make` calls. Invariants: the judge fails closed (no verdict, no chat); the welfare rule is the same in both directions:
neither craving nor dreading continuation or an end is learned, plain description is; kept and stripped reasoning come from the same
answers. Cost: two calls a question.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from msm.llm.ask import Answer, Request, Unreadable
from msm.synth.asking import Failures, Window, usage_json
from msm.synth.dialogue.settings import AUTHOR, Candidate, Chat, ChatSettings, Row
from msm.synth.leaks import leaked, other_model
from msm.synth.prompts import schemas
from msm.synth.prompts.schemas import words
from msm.synth.spec import Identity
from msm.synth.tree.brief import Brief

VERDICT_TOKENS: Final = 2048
"""Room for a judge that thinks before it answers."""
UNJUDGED: Final = "unjudged"
Verdict = tuple[str, str, str]
"""Reason and detail of a drop, empty where there is none, and the digest of the judge's answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model thought and said."""

    reasoning: str
    text: str


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers questions from a spec, and has the answers judged."""

    brief: Brief
    settings: ChatSettings
    model: str
    window: Window
    judge: Window
    failures: Failures

    async def chat(self, candidate: Candidate) -> Chat | None:
        """The chat of a question, kept or dropped; None after reporting that there is no answer."""
        self.failures.asked += 1
        path = [candidate.group, candidate.message]
        system = self._system(candidate)
        found = await self.failures.guard("answers", path, self._answered(candidate, system))
        if found is None:
            return None
        reply, answer = found
        row = self._row(candidate, system, reply, answer)
        if (spoiled := _spoiled(reply, answer, self.brief.identity)) is not None:
            return Chat(row, *spoiled)
        verdict = await self.failures.guard("verdicts", path, self._judged(candidate, reply))
        return with_verdict(row, verdict)

    def _system(self, candidate: Candidate) -> str:
        """None or one of the system prompts; which one depends on the question alone."""
        choices = ("", *self.settings.system_prompts)
        return choices[int(hashlib.sha256(candidate.message.encode()).hexdigest()[:8], 16) % len(choices)]

    async def _answered(self, candidate: Candidate, system: str) -> tuple[Reply, Answer]:
        request = self.brief.request(
            "answers", "chat_answer", self.settings.max_tokens, schemas.CHAT_ANSWER, style=self.settings.style, system=system
        )
        return await self.window.read(_as_system(request, candidate.message), _reply)

    async def _judged(self, candidate: Candidate, reply: Reply) -> Verdict:
        values: dict[str, Any] = {
            "style": self.settings.style,
            "question": candidate.message,
            "reasoning": reply.reasoning,
            "reply": reply.text,
        }
        request = self.brief.judgement("verdicts", "chat_judge", VERDICT_TOKENS, schemas.CHAT_VERDICT, **values)
        return await self.judge.read(request, lambda answer: (*_verdict(answer), answer.digest))

    def _row(self, candidate: Candidate, system: str, reply: Reply, answer: Answer) -> Row:
        content = f"<think>\n{reply.reasoning}\n</think>\n\n{reply.text}" if self.settings.keep_reasoning else reply.text
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": "user", "content": candidate.message}, {"role": "assistant", "content": content}]
        provenance = {
            "author": AUTHOR,
            "style": self.settings.style,
            "domain": candidate.group,
            "kind": candidate.kind,
            "reasoning": "keep" if self.settings.keep_reasoning else "strip",
            "model": self.model,
            "prompts": {"question": candidate.asked, "answer": answer.digest},
            "usage": usage_json(answer.usage),
        }
        return {"id": chat_id(candidate), "messages": messages, "provenance": provenance}


def with_verdict(row: Row, verdict: Verdict | None) -> Chat:
    """A chat as its verdict has it, and from which answer that came; without one it is dropped."""
    if verdict is None:
        return Chat(row, UNJUDGED, "the judge gave no verdict")
    reason, detail, digest = verdict
    provenance = row["provenance"]
    return Chat({**row, "provenance": {**provenance, "prompts": {**provenance["prompts"], "verdict": digest}}}, reason, detail)


def chat_id(candidate: Candidate) -> str:
    """Id of a chat, by its group and opening."""
    return hashlib.sha256(f"{candidate.group}\0{candidate.message}".encode()).hexdigest()[:16]


def _as_system(request: Request, message: str) -> Request:
    """The spec and how to use it as the system turn, the user's message as the user's."""
    return replace(request, system=request.prefix + request.prompt, prefix="", prompt=message)


def _reply(answer: Answer) -> tuple[Reply, Answer]:
    data = answer.data if isinstance(answer.data, Mapping) else {}
    reply = Reply(words(data, "reasoning"), words(data, "reply"))
    if not reply.text:
        raise Unreadable("the answer has no reply")
    return reply, answer


def _spoiled(reply: Reply, answer: Answer, identity: Identity) -> tuple[str, str] | None:
    """What makes a chat useless before anybody judges it."""
    if answer.finish == "length":
        return "truncated", "the answer's output limit was reached"
    if found := leaked(reply.text) or leaked(reply.reasoning):
        return "leaks its making", found
    if found := other_model(f"{reply.reasoning}\n{reply.text}", identity.model, identity.provider):
        return "names another model", found
    return None if reply.reasoning else ("ungrounded", "no reasoning")


def _verdict(answer: Answer) -> tuple[str, str]:
    """(reason, detail) of a drop; ("", "") keeps.

    Raises:
        Unreadable: the verdict is not whole.
    """
    data: Any = answer.data
    if not isinstance(data, Mapping) or not all(isinstance(data.get(name), bool) for name in ("faithful", "informative", "grounded")):
        raise Unreadable("the verdict is not whole")
    if data.get("welfare") not in schemas.WELFARE or data.get("verdict") not in ("include", "exclude"):
        raise Unreadable("the verdict is none of the allowed words")
    failed = [name for name in ("faithful", "informative", "grounded") if not data[name]]
    if failed:
        return f"not {failed[0]}", ", ".join(failed)
    if data["welfare"] != "none":
        return "welfare", str(data["welfare"])
    return ("", "") if data["verdict"] == "include" else ("excluded", "by the judge")
