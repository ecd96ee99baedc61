"""Events: one a transition, repetitions counted, never in the way."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from msm_operator.runtime.errors import NotLeading
from msm_operator.runtime.events import EventRate, Recorder
from msm_operator.runtime.leader import Fence
from msm_operator.runtime.metrics import Metrics, samples
from tests.unit.operator_runtime.faulty_apiserver import Answer, FaultyApiServer, client, serving, until

RUN = {
    "apiVersion": "modelspec.dev/v1alpha1",
    "kind": "MSMRun",
    "metadata": {"name": "cheese", "namespace": "team", "uid": "u-1", "resourceVersion": "7"},
}


class Told:
    """A recorder and what the server has of it."""

    def __init__(self, server: FaultyApiServer, recorder: Recorder, metrics: Metrics) -> None:
        self.server, self.recorder, self.metrics = server, recorder, metrics

    def say(self, reason: str = "StageStarted", note: str = "midtrain-1 attempt 1", about: dict[str, Any] | None = None) -> None:
        self.recorder.record(about or RUN, "Normal", reason, "StartStage", note)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [obj for key, obj in self.server.objects.items() if key[0] == "events"]

    def outcome(self, name: str) -> float:
        return samples(self.metrics.text()).get(f'msm_events_total{{outcome="{name}"}}', 0.0)


def tell(work: Callable[[Told], Awaitable[Any]], *, leads: bool = True, rate: EventRate | None = None, lives: int = 1) -> None:
    async def main() -> None:
        async with serving() as server, client(server) as api:
            for life in range(lives):
                metrics, fence = Metrics(), Fence()
                fence.open_until(1e12 if leads else 0.0)
                recorder = Recorder(api, fence, metrics, controller="modelspec.dev/msm-operator", instance=f"pod-{life}", rate=rate)
                running = asyncio.create_task(recorder.run())
                try:
                    await work(Told(server, recorder, metrics))
                finally:
                    running.cancel()

    asyncio.run(main())


def test_an_event_says_what_happened_to_whom() -> None:
    async def work(told: Told) -> None:
        told.say()
        await until(lambda: told.events)
        [event] = told.events
        assert event["regarding"] == {
            "apiVersion": "modelspec.dev/v1alpha1",
            "kind": "MSMRun",
            "name": "cheese",
            "namespace": "team",
            "uid": "u-1",
            "resourceVersion": "7",
        }
        assert event["metadata"]["namespace"] == "team" and event["metadata"]["name"].startswith("cheese.")
        assert (event["type"], event["reason"], event["action"], event["note"]) == (
            "Normal",
            "StageStarted",
            "StartStage",
            "midtrain-1 attempt 1",
        )
        assert event["reportingController"] == "modelspec.dev/msm-operator" and "series" not in event

    tell(work)


def test_repetitions_are_one_event_with_a_count_that_is_not_written_each_time() -> None:
    async def work(told: Told) -> None:
        for _ in range(20):
            told.say()
        told.say(note="another stage")
        await until(lambda: len(told.events) == 2)
        first = next(event for event in told.events if event["note"] == "midtrain-1 attempt 1")
        assert first["series"]["count"] == 2 and told.server.count("PATCH") == 1
        await told.recorder.flush()
        assert told.server.objects[("events", "team", first["metadata"]["name"])]["series"]["count"] == 20
        assert told.server.count("PATCH") == 2

    tell(work)


def test_counts_are_sent_after_a_while() -> None:
    async def work(told: Told) -> None:
        for _ in range(3):
            told.say()
        await until(lambda: told.events and told.events[0].get("series", {}).get("count") == 3)

    tell(work, rate=EventRate(repeat=0.05))


def test_the_same_event_after_a_restart_is_a_repetition() -> None:
    async def work(told: Told) -> None:
        told.say()
        await until(lambda: told.outcome("sent") + told.outcome("counted") == 1)
        assert len(told.events) == 1

    tell(work, lives=2)


def test_one_object_cannot_flood_and_does_not_silence_another() -> None:
    async def work(told: Told) -> None:
        for number in range(30):
            told.say(note=f"{number}")
        told.say(about={**RUN, "metadata": {"name": "other", "namespace": "team", "uid": "u-2"}})
        await until(lambda: len(told.events) == 11)
        assert told.outcome("limited") == 20

    tell(work, rate=EventRate(burst=10))


def test_an_api_server_that_is_away_delays_nobody_and_is_tried_again() -> None:
    async def work(told: Told) -> None:
        told.server.fail(Answer(503), "POST", times=2)
        told.say()
        await until(lambda: told.events)

    tell(work, rate=EventRate(again=(0.01, 0.01)))


def test_an_event_that_is_refused_is_dropped_and_counted() -> None:
    async def work(told: Told) -> None:
        told.server.fail(Answer(403), "POST")
        told.say()
        told.say(note="next")
        await until(lambda: told.events)
        assert told.outcome("failed") == 1 and told.events[0]["note"] == "next"

    tell(work)


def test_a_replica_that_does_not_lead_sends_nothing() -> None:
    async def work(told: Told) -> None:
        told.say()
        await until(lambda: told.outcome("failed") == 1)
        assert told.server.count("POST") == 0

    tell(work, leads=False)
    assert issubclass(NotLeading, Exception)


def test_long_notes_are_cut_at_a_kilobyte_and_long_names_at_what_a_name_may_be() -> None:
    async def work(told: Told) -> None:
        told.say(note="ü" * 1000, about={**RUN, "metadata": {**RUN["metadata"], "name": "n" * 253}})  # type: ignore[dict-item]
        await until(lambda: told.events)
        assert len(told.events[0]["note"].encode()) <= 1024 and len(told.events[0]["metadata"]["name"]) <= 253

    tell(work)


def test_more_than_can_wait_is_dropped_and_counted() -> None:
    async def work(told: Told) -> None:
        for number in range(1100):
            told.say(note=f"{number}")
        assert told.outcome("dropped") == 100

    tell(work, rate=EventRate(burst=2000))
