"""The client against a real vLLM: tokens/s beside vLLM's own benchmark, and how much of the prompts its prefix cache holds.

A part of `make bench-synth` (`--part vllm`). All sides ask the same server the same questions, as many at a time, with the same limit of
tokens; rounds alternate, so that a busy machine slows all, and ratios are medians over neighbours. vLLM's benchmark streams, token by
token, which costs server and client processor time that the model lacks where all share one processor; so a bare loop that does not
stream stands beside it. Cost: some minutes to start the server and the other benchmark, then the rounds.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msm.errors import TryAgain
from msm.llm.ask import Request, Sampling
from msm.llm.client import open_openai
from tests.bench.vllm_theirs import MARK
from tests.vllm_documents import AT_ONCE, write_documents
from tests.vllm_server import KEY, MODEL, NotHere, VLLMServer, connection_to_vllm, new_server

GOAL, GOAL_PREFIX = 0.9, 0.9
TOWNS = ("Arles", "Bergen", "Cork", "Delft", "Evora", "Fano", "Gdansk", "Hobro")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--served-requests", type=int, default=24, help="questions a round to the real server")
    parser.add_argument("--served-tokens", type=int, default=48, help="tokens of each answer of the real server")
    parser.add_argument("--served-documents", type=int, default=64, help="documents for the prefix cache")


def prompts(number: int) -> list[str]:
    """Questions that a small model answers at length."""
    return [f"Tell a long story about the {n}th lighthouse near {TOWNS[n % len(TOWNS)]} and all who kept it." for n in range(number)]


async def _ours(server: VLLMServer, requests: int, tokens: int) -> tuple[float, int]:
    async with open_openai(connection_to_vllm(server, concurrency=AT_ONCE), random.Random(0)) as asker:
        asked = [Request("", prompt, Sampling(tokens, 0.0), "bench") for prompt in prompts(requests)]
        await asker.ask(asked[0])
        began = time.perf_counter()
        answers = await asyncio.gather(*(asker.ask(request) for request in asked))
        wall = time.perf_counter() - began
    made = sum(answer.usage.completion for answer in answers)
    return made / wall, made


async def _bare(server: VLLMServer, requests: int, tokens: int) -> tuple[float, int]:
    """The same questions by the HTTP library alone: no stream, no checks, no waiting room."""
    import httpx2
    import openai

    free = asyncio.Semaphore(AT_ONCE)
    limits = httpx2.Limits(max_connections=AT_ONCE)
    async with openai.DefaultAioHttpClient(limits=limits, timeout=None, headers={"Authorization": f"Bearer {KEY}"}) as client:

        async def ask(prompt: str) -> int:
            turn = {"role": "user", "content": prompt}
            body = {"model": MODEL, "messages": [turn], "max_tokens": tokens, "temperature": 0.0}
            async with free:
                answer = await client.post(f"{server.base_url}/chat/completions", json=body)
            return answer.json()["usage"]["completion_tokens"]

        asked = prompts(requests)
        await ask(asked[0])
        began = time.perf_counter()
        made = sum(await asyncio.gather(*(ask(prompt) for prompt in asked)))
        return made / (time.perf_counter() - began), made


class Theirs:
    """vLLM's benchmark, ready for rounds."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process, self._log = process, log
        self._result()

    def round(self) -> tuple[float, int]:
        """Tokens/s and tokens of one round."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found = self._result()
        assert not found["failed"], found
        return found["output_throughput"], found["total_output_tokens"]

    def _result(self) -> dict[str, float]:
        for line in self._process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise RuntimeError(f"vLLM's benchmark ended:\n{self._log.read_text(errors='replace')[-3000:]}")


@contextmanager
def running_theirs(server: VLLMServer, requests: int, tokens: int, scratch: Path) -> Iterator[Theirs]:
    """`vllm bench serve` with the same questions."""
    questions = scratch / "questions.jsonl"
    questions.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts(requests)))
    command = [str(server.python), str(Path(__file__).with_name("vllm_theirs.py")), "--backend", "openai-chat"]
    command += ["--base-url", server.base_url.removesuffix("/v1"), "--endpoint", "/v1/chat/completions", "--model", str(server.model)]
    command += ["--served-model-name", MODEL, "--dataset-name", "custom", "--dataset-path", str(questions), "--skip-chat-template"]
    command += ["--disable-shuffle", "--num-prompts", str(requests), "--custom-output-len", str(tokens), "--temperature", "0"]
    command += ["--max-concurrency", str(AT_ONCE), "--disable-tqdm", "--num-warmups", "0"]
    environ = {**server.environ(), "OPENAI_API_KEY": KEY}
    with (
        (scratch / "theirs.log").open("w") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environ, cwd=scratch
        ) as process,
    ):
        try:
            yield Theirs(process, scratch / "theirs.log")
        finally:
            process.kill()


def compare(server: VLLMServer, rounds: int, requests: int, tokens: int, scratch: Path) -> dict[str, float]:
    """Ours over theirs and over the bare loop, medians of neighbouring rounds, after one of each that counts for nothing."""
    found: dict[str, list[tuple[float, int]]] = {"ours": [], "theirs": [], "bare": []}
    with running_theirs(server, requests, tokens, scratch) as bench:
        sides: dict[str, Callable[[], tuple[float, int]]] = {
            "ours": lambda: asyncio.run(_ours(server, requests, tokens)),
            "theirs": bench.round,
            "bare": lambda: asyncio.run(_bare(server, requests, tokens)),
        }
        for number in range(-1, rounds):
            for name in list(sides) if number % 2 else list(sides)[::-1]:
                speed = sides[name]()
                if number >= 0:
                    found[name].append(speed)
    for name, said in {"ours": "ours", "theirs": "vLLM's own benchmark (streams)", "bare": "bare loop (does not)"}.items():
        made = sorted({tokens for _, tokens in found[name]})
        print(f"real server, {requests} questions, {AT_ONCE} at a time: {said} {_middle(found[name]):.1f} tokens/s, {made} tokens a round")
    return {name: _ratio(found["ours"], found[name]) for name in ("theirs", "bare")}


def _ratio(ours: list[tuple[float, int]], others: list[tuple[float, int]]) -> float:
    return statistics.median(mine / other for (mine, _), (other, _) in zip(ours, others, strict=True))


def _middle(speeds: list[tuple[float, int]]) -> float:
    return statistics.median(speed for speed, _ in speeds)


def figures(arguments: argparse.Namespace) -> dict[str, float | None]:
    """`client_vs_server` and `prefix_hit_rate`; null, with the reason printed, where there is no vLLM."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            server = new_server(Path(scratch))
        except (NotHere, TryAgain) as error:
            print(f"client_vs_server, prefix_hit_rate: null, {error}")
            return {"client_vs_server": None, "prefix_hit_rate": None}
        try:
            return _measured(server.start(), arguments, Path(scratch))
        finally:
            server.kill()


def _measured(server: VLLMServer, arguments: argparse.Namespace, scratch: Path) -> dict[str, float | None]:
    ratios = compare(server, arguments.rounds, arguments.served_requests, arguments.served_tokens, scratch)
    print(f"ours over vLLM's own {ratios['theirs']:.3f} (goal {GOAL:g}), over the bare loop {ratios['bare']:.3f}")
    found = write_documents(server, arguments.served_documents, tokens=8)
    print(
        f"document stage, {found.questions} documents of a spec of 2.6 thousand tokens: {found.hit_rate:.3f} of {found.queries:.0f} prompt"
        f" tokens came from the server's prefix cache (goal {GOAL_PREFIX:g})"
    )
    figures = {"client_vs_server": ratios["theirs"], "server_vs_bare": ratios["bare"], "prefix_hit_rate": found.hit_rate}
    return {name: round(figure, 3) for name, figure in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    add_arguments(parser)
    print(json.dumps(figures(parser.parse_args())))


if __name__ == "__main__":
    main()
