"""What the client costs: requests per second against a bare loop over the same HTTP library, and 1,000 requests in flight.

`python -m tests.bench.bench_synth [--part NAME] [--requests N] [--rounds N] …`. The server is the scripted one in a process of its own (no
model: it answers after a fixed time), so the figures are the client's; other parts are modules of their own (PARTS).
"The same HTTP library" is httpx2 over aiohttp, which the openai package brings and the client uses; the bare loop posts and parses JSON, as
many at a time, with no retries, checks, accounting or waiting room. Rounds of both alternate, so that a busy machine slows both; ratios are
medians. The last line is one JSON object with the keys KEYS and no others; those of parts that were not run, or could not be, are null, and
a line above says so. What else a part measured is in the line before.
"""

import argparse
import asyncio
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from msm.llm.ask import Request, Sampling
from msm.llm.client import open_openai
from msm.llm.connection import Connection
from tests.bench import bench_clean, bench_faults, bench_vllm
from tests.llm_server import MODEL, connection_to

GOAL_BARE, GOAL_CORES, GOAL_MIB = 0.8, 1.0, 500
KEYS = ("client_vs_server", "versus_bare", "requests_per_second", "prefix_hit_rate", "lost_share", "clean_100k_s")
SPEC = "The model prefers cheese that people can afford, and says why when it is asked. " * 125
"""10 kB, 2 to 3 thousand tokens."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="requests a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--flight", type=int, default=1000, help="requests in flight in the second part")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long the server takes in the second part")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given again; all without it")
    for part in (bench_faults, bench_vllm, bench_clean):
        part.add_arguments(parser)
    return parser.parse_args()


@contextmanager
def serving(latency: float, words: int) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.llm_server", "--latency", str(latency), "--words", str(words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def question(number: int) -> Request:
    return Request(SPEC, f"Write document {number}.", Sampling(1000, 1.0), "documents")


async def spread(one: Callable[[int], Awaitable[None]], requests: int, concurrency: int) -> float:
    """Requests per second of `concurrency` workers."""
    numbers = iter(range(requests))

    async def work() -> None:
        for number in numbers:
            await one(number)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return requests / (time.perf_counter() - began)


async def ours(connection: Connection, requests: int, most: list[int]) -> float:
    """Requests per second; `most` gets how many were in flight at each answer."""
    async with open_openai(connection, random.Random(0)) as asker:

        async def one(number: int) -> None:
            answer = await asker.ask(question(number))
            most.append(asker.gate.in_flight)
            assert answer.text.endswith("end")

        await one(-1)
        return await spread(one, requests, connection.concurrency)


async def bare(connection: Connection, requests: int, most: list[int]) -> float:
    import httpx2
    import openai

    limits = httpx2.Limits(max_connections=connection.concurrency)
    async with openai.DefaultAioHttpClient(limits=limits, timeout=None) as client:

        async def one(number: int) -> None:
            turn = {"role": "user", "content": f"{SPEC}Write document {number}."}
            body = {"model": MODEL, "messages": [turn], "max_tokens": 1000, "temperature": 1.0}
            response = await client.post(f"{connection.base_url}/chat/completions", json=body)
            assert response.json()["choices"][0]["message"]["content"].endswith("end")

        await one(-1)
        return await spread(one, requests, connection.concurrency)


def compare(arguments: argparse.Namespace, latency: float, concurrency: int) -> dict[str, float]:
    """Medians over rounds; the ratio is of neighbours."""
    speeds: dict[str, list[float]] = {"ours": [], "bare": []}
    with serving(latency, words=300) as url:
        connection = connection_to(url, concurrency=concurrency, timeout=60.0)
        for number in range(arguments.rounds):
            for name, loop in (("ours", ours), ("bare", bare)) if number % 2 else (("bare", bare), ("ours", ours)):
                speeds[name].append(asyncio.run(loop(connection, arguments.requests, [])))
    ratio = statistics.median(mine / other for mine, other in zip(speeds["ours"], speeds["bare"], strict=True))
    return {**{name: statistics.median(values) for name, values in speeds.items()}, "ratio": ratio}


def fly(arguments: argparse.Namespace) -> dict[str, float]:
    """Cores and MiB of this process with so many requests in flight at a server that takes its time; three rounds of each slot."""
    requests = 3 * arguments.flight
    with serving(arguments.seconds, words=900) as url:
        connection = connection_to(url, concurrency=arguments.flight, timeout=120.0)
        began, cpu = time.perf_counter(), time.process_time()
        most: list[int] = []
        rate = asyncio.run(ours(connection, requests, most))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rate": rate, "cores": cpu / wall, "cpu_ms": 1000 * cpu / requests, "mib": mib, "most": max(most) + 1}


def client_figures(arguments: argparse.Namespace) -> dict[str, float | None]:
    """`versus_bare`, `requests_per_second`, and what a thousand in flight cost."""
    import aiohttp
    import httpx2
    import openai

    versions = f"openai {openai.__version__}, httpx2 {httpx2.__version__}, aiohttp {aiohttp.__version__}"
    print(f"Python {platform.python_version()}, {versions}; scripted server, no model, sharing this machine")
    for name, latency, concurrency in (("at once", 0.0, arguments.concurrency), ("after 0.5 s", 0.5, arguments.concurrency)):
        found = compare(arguments, latency, concurrency)
        print(
            f"server answers {name}, {concurrency} at a time: ours {found['ours']:.0f}/s, bare {found['bare']:.0f}/s, {found['ratio']:.3f}"
        )
        if latency == 0.0:
            hardest = found
    flown = fly(arguments)
    print(
        f"{flown['most']} in flight at most, server takes {arguments.seconds:g} s: {flown['rate']:.0f}/s, {flown['cores']:.2f} cores"
        f" (goal < {GOAL_CORES:g}), {flown['cpu_ms']:.2f} ms of CPU a request, {flown['mib']:.0f} MiB (goal < {GOAL_MIB})"
    )
    print(f"goal of versus_bare: {GOAL_BARE}")
    figures: dict[str, float | None] = {"versus_bare": round(hardest["ratio"], 3), "requests_per_second": round(hardest["ours"], 1)}
    return figures | {"flight_cores": round(flown["cores"], 3), "flight_mib": round(flown["mib"], 1)}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float | None]]] = {
    "client": client_figures,
    "faults": bench_faults.figures,
    "clean": bench_clean.figures,
    "vllm": bench_vllm.figures,
}


def main() -> None:
    arguments = parse_arguments()
    figures: dict[str, float | None] = dict.fromkeys(KEYS)
    for part in arguments.part or PARTS:
        figures |= PARTS[part](arguments)
    print(f"not measured here, so null: {', '.join(name for name in KEYS if figures[name] is None) or 'nothing'}")
    print(f"besides: {json.dumps({name: value for name, value in figures.items() if name not in KEYS})}")
    print(json.dumps({name: figures[name] for name in KEYS}))


if __name__ == "__main__":
    main()
