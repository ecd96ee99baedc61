"""The client of the API server: what it sends, and what it calls what comes back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kubernetes.aio.client.configuration import Configuration

from msm_operator.runtime import errors
from msm_operator.runtime.api import Api, Selection
from msm_operator.runtime.connection import Connection
from msm_operator.runtime.metrics import Metrics, samples
from msm_operator.runtime.resources import JOBS, MSMRUNS, NAMESPACES, PODS
from msm_operator.runtime.seams import Key
from tests.unit.operator_runtime.faulty_apiserver import Answer, Drop, FaultyApiServer, Hang, client, serving

RUN = {"apiVersion": "modelspec.dev/v1alpha1", "kind": "MSMRun", "metadata": {"name": "a", "namespace": "team"}, "spec": {"x": 1}}
WHERE = Key("team", "a")


def talk(work: Callable[[FaultyApiServer, Api], Awaitable[Any]], **limits: float) -> Any:
    async def main() -> Any:
        async with serving() as server, client(server, **limits) as api:
            return await work(server, api)

    return asyncio.run(main())


def test_paths_name_group_namespace_object_and_subresource() -> None:
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("team", "p", "log") == "/api/v1/namespaces/team/pods/p/log"
    assert MSMRUNS.path("team") == "/apis/modelspec.dev/v1alpha1/namespaces/team/msmruns"
    assert NAMESPACES.path("team", "n") == "/api/v1/namespaces/n"
    assert (PODS.api_version, JOBS.api_version) == ("v1", "batch/v1")


def test_what_is_created_can_be_read_changed_and_deleted() -> None:
    async def work(server: FaultyApiServer, api: Api) -> None:
        created = await api.create(MSMRUNS, RUN)
        assert (await api.get(MSMRUNS, WHERE))["spec"] == {"x": 1}
        replaced = await api.replace(MSMRUNS, created | {"spec": {"x": 2}})
        with pytest.raises(errors.Conflict):
            await api.replace(MSMRUNS, created)
        patched = await api.patch(MSMRUNS, WHERE, {"metadata": {"labels": {"l": "v"}}})
        assert patched["spec"] == replaced["spec"] and patched["metadata"]["labels"] == {"l": "v"}
        with pytest.raises(errors.Conflict):
            await api.delete(MSMRUNS, WHERE, uid="another")
        await api.delete(MSMRUNS, WHERE, uid=created["metadata"]["uid"])
        with pytest.raises(errors.NotFound):
            await api.get(MSMRUNS, WHERE)

    talk(work)


def test_an_apply_is_forced_strict_and_names_its_manager() -> None:
    async def work(server: FaultyApiServer, api: Api) -> None:
        await api.apply(MSMRUNS, RUN)
        await api.apply(MSMRUNS, RUN | {"status": {"stage": "s"}}, status=True)
        whole, status = server.asked
        assert whole.query == {"fieldManager": "msm-operator", "fieldValidation": "Strict", "force": "true"}
        assert whole.headers["Content-Type"] == "application/apply-patch+yaml"
        assert status.path.endswith("/msmruns/a/status")

    talk(work)


def test_a_list_comes_in_pages_that_are_asked_for_one_by_one() -> None:
    async def work(server: FaultyApiServer, api: Api) -> None:
        for number in range(7):
            server.put("pods", {"metadata": {"name": f"p{number}", "namespace": "team"}})
        names, following, asked = [], "", 0
        while asked == 0 or following:
            page = await api.page(Selection(PODS), following=following, limit=3)
            names += [item["metadata"]["name"] for item in page.items]
            following, asked = page.following, asked + 1
        assert names == [f"p{number}" for number in range(7)] and asked == 3
        assert page.items[0]["kind"] == "Pod", "items of a list carry no kind of their own"

    talk(work)


def test_a_list_that_may_be_old_says_how_old() -> None:
    async def work(server: FaultyApiServer, api: Api) -> None:
        await api.page(Selection(PODS, "team", labels="a=b", fields="metadata.name=x"), at_least="42")
        query = server.asked[0].query
        assert (query["resourceVersion"], query["resourceVersionMatch"]) == ("42", "NotOlderThan")
        assert (query["labelSelector"], query["fieldSelector"]) == ("a=b", "metadata.name=x")

    talk(work)


def test_metadata_only_asks_for_metadata_only() -> None:
    async def work(server: FaultyApiServer, api: Api) -> None:
        server.put("secrets", {"metadata": {"name": "s", "namespace": "team"}, "data": {"password": "x"}})
        page = await api.page(Selection(PODS, metadata_only=True))
        assert page.items == []
        assert server.asked[0].headers["Accept"].startswith("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")

    talk(work)


def test_a_watch_tells_events_in_order_from_where_it_was_asked_to() -> None:
    async def work(server: FaultyApiServer, api: Api) -> list[tuple[str, str]]:
        first = server.put("pods", {"metadata": {"name": "a", "namespace": "team"}, "text": "ü\nß" * 50_000})
        server.put("pods", first | {"spec": 1})
        server.remove("pods", "team", "a")
        heard: list[tuple[str, str]] = []
        async with api.watch(Selection(PODS), "100", seconds=30) as events:
            async for event in events:
                heard.append((event.type, event.object["metadata"]["resourceVersion"]))
                if len(heard) == 4:
                    return heard
        raise AssertionError("the watch ended")

    assert talk(work) == [("ADDED", "101"), ("MODIFIED", "102"), ("DELETED", "103"), ("BOOKMARK", "103")]


REFUSALS = {
    "an absent object": (Answer(404, "NotFound"), errors.NotFound),
    "a bad identity": (Answer(401, "Unauthorized"), errors.Forbidden),
    "no permission": (Answer(403, "Forbidden"), errors.Forbidden),
    "a write in between": (Answer(409, "Conflict"), errors.Conflict),
    "a name that is taken": (Answer(409, "AlreadyExists"), errors.AlreadyExists),
    "a version that is too old": (Answer(410, "Expired"), errors.Gone),
    "a version that this server has not reached": (
        Answer(504, "Timeout", causes=(("", "too large", "ResourceVersionTooLarge"),)),
        errors.Gone,
    ),
    "an invalid field": (Answer(422, "Invalid"), errors.Invalid),
    "a field that a built-in kind does not have": (
        Answer(500, "", "failed to create typed patch object (…): field not declared"),
        errors.Invalid,
    ),
    "a uid that is another's": (Answer(422, "Invalid", causes=(("metadata.uid", "immutable", "x"),) * 2), errors.Conflict),
    "a body that is too large": (Answer(413, "RequestEntityTooLarge"), errors.Invalid),
    "a server that is too busy": (Answer(429, "TooManyRequests"), errors.TooManyRequests),
    "a server in trouble": (Answer(500, "InternalError"), errors.Unavailable),
    "a proxy's page": (Answer(502, html=True), errors.Unavailable),
    "a server that starts": (Answer(503, "ServiceUnavailable"), errors.Unavailable),
    "a connection that breaks": (Drop(), errors.Unavailable),
    "a server that never answers": (Hang(), errors.Unavailable),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_has_a_name(refusal: tuple[Any, type[errors.ApiError]]) -> None:
    async def work(server: FaultyApiServer, api: Api) -> None:
        server.fail(refusal[0], times=2)
        with pytest.raises(errors.ApiError) as caught:
            await api.get(PODS, WHERE)
        assert type(caught.value) is refusal[1]
        assert str(caught.value).startswith("GET /api/v1/namespaces/team/pods/a: ") and "\n" not in str(caught.value)

    talk(work, request_s=0.2 if isinstance(refusal[0], Hang) else 30.0)


def test_a_refusal_keeps_the_fields_and_the_pause_that_the_server_named() -> None:
    async def work(server: FaultyApiServer, api: Api) -> None:
        server.fail(Answer(422, "Invalid", "no", causes=(("spec.arms[0].name", "too long", "FieldValueTooLong"),)), "POST")
        with pytest.raises(errors.Invalid) as invalid:
            await api.create(MSMRUNS, RUN)
        assert invalid.value.causes == (errors.Cause("spec.arms[0].name", "too long", "FieldValueTooLong"),)
        server.fail(Answer(429, "TooManyRequests", retry_after="7"))
        with pytest.raises(errors.TooManyRequests) as busy:
            await api.get(PODS, WHERE)
        assert busy.value.retry_after == 7.0

    talk(work)


def test_requests_are_counted_by_status_and_method() -> None:
    async def main() -> dict[str, float]:
        metrics = Metrics()
        async with serving() as server, client(server, metrics) as api:
            server.fail(Drop(), times=2)
            for _ in range(2):
                with pytest.raises(errors.ApiError):
                    await api.get(PODS, WHERE)
            return {name: value for name, value in samples(metrics.text()).items() if name.startswith("rest_client_requests_total")}

    counted = asyncio.run(main())
    assert sorted(name.partition(",host")[0] for name in counted) == [
        'rest_client_requests_total{code="404",method="GET"',
        'rest_client_requests_total{code="<error>",method="GET"',
    ]


PROXIES = {
    "no proxy is named": ({}, None),
    "one is named for this scheme": ({"http_proxy": "http://proxy:3128"}, "http://proxy:3128"),
    "one is named for another scheme": ({"https_proxy": "http://proxy:3128"}, None),
    "the server is excepted": ({"http_proxy": "http://proxy:3128", "no_proxy": "kubernetes.default.svc"}, None),
}


@pytest.mark.parametrize("case", PROXIES.values(), ids=PROXIES)
def test_the_environments_proxy_is_looked_up_once_when(case: tuple[dict[str, str], str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in case[0].items():
        monkeypatch.setenv(name, value)

    async def main() -> str | None:
        settings = Configuration(host="http://kubernetes.default.svc")
        connection = Connection(settings, Metrics())
        await connection.close()
        return settings.proxy

    assert asyncio.run(main()) == case[1]
