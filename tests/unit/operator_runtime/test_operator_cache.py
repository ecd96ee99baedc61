"""The store: indexes tell the truth, versions do not go back, what is read is the reader's own."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm_operator.runtime.cache import Store, key_of, older, trimmed
from msm_operator.runtime.seams import Key


def pod(name: str, version: int, *, owners: tuple[str, ...] = (), labels: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": "team", "resourceVersion": str(version), "uid": f"uid-{name}"}
    meta |= {"ownerReferences": [{"uid": uid, "kind": "MSMRun", "name": uid} for uid in owners]} if owners else {}
    meta |= {"labels": labels} if labels else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, **more}


A = Key("team", "a")


def test_what_a_reader_does_to_an_object_stays_with_the_reader() -> None:
    store = Store()
    store.put(pod("a", 1, spec={"x": [1]}))
    mine: Any = store.get(A)
    mine["spec"]["x"].append(2)
    assert store.get(A) == pod("a", 1, spec={"x": [1]})


def test_managed_fields_and_the_last_applied_copy_are_not_kept() -> None:
    obj = pod("a", 1)
    obj["metadata"] |= {"managedFields": [{}], "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}}
    assert trimmed(obj)["metadata"] == pod("a", 1)["metadata"] | {"annotations": {"mine": "1"}}


def test_an_older_version_is_not_taken_but_is_still_a_change_to_look_at() -> None:
    store = Store()
    store.put(pod("a", 7, spec="new"))
    change = store.put(pod("a", 5, spec="old"))
    assert (change.type, change.object["spec"], change.echo) == ("updated", "new", False)
    late = store.remove(A, "6")
    assert late is not None and late.type == "updated" and store.get(A)
    gone = store.remove(A, "8")
    assert gone is not None and (gone.type, gone.object["spec"]) == ("deleted", "new")
    assert store.remove(A, "9") is None


def test_the_answer_to_our_own_write_is_there_at_once_and_its_event_is_an_echo() -> None:
    store = Store()
    store.put(pod("a", 5, spec="old"))
    store.reached("5")
    store.wrote(pod("a", 7, spec="ours"))
    assert store.get(A) == pod("a", 7, spec="ours")
    assert store.put(pod("a", 6, spec="another's, in between")).echo is False
    assert store.put(pod("a", 7, spec="ours")).echo is True
    assert store.put(pod("a", 8)).echo is False


def test_a_late_answer_does_not_bring_back_what_was_deleted() -> None:
    store = Store()
    store.reached("5")
    store.wrote(pod("a", 7))
    store.remove(A, "9")
    store.reached("9")
    store.wrote(pod("a", 7))
    assert store.get(A) is None


def test_an_answer_before_the_first_list_is_left_to_the_list() -> None:
    store = Store()
    store.wrote(pod("a", 7))
    assert len(store) == 0


def test_a_list_does_not_forget_what_was_written_after_it() -> None:
    store = Store()
    store.put(pod("a", 3))
    store.put(pod("b", 4))
    store.reached("5")
    store.wrote(pod("c", 9))
    assert [(change.type, change.key.name) for change in store.retain({A}, "", "7")] == [("deleted", "b"), ("updated", "c")]
    assert sorted(key.name for key in store.keys()) == ["a", "c"]  # noqa: SIM118


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    store = Store()
    store.put(pod("a", 3))
    store.put({"metadata": {"name": "b", "namespace": "others", "resourceVersion": "3"}})
    assert [change.key.name for change in store.retain(set(), "team", "7")] == ["a"]
    assert [key_of(obj).name for obj in store.in_namespace("others")] == ["b"]


def test_only_labels_that_are_indexed_can_be_asked_for() -> None:
    store = Store(indexed=("run",))
    store.put(pod("a", 1, labels={"run": "x", "other": "y"}))
    assert [key_of(obj) for obj in store.labelled("run", "x")] == [A]
    with pytest.raises(KeyError, match="no index by the label other"):
        store.labelled("other", "y")


def test_versions_compare_as_numbers_and_not_at_all_otherwise() -> None:
    assert older("9", "10") and not older("10", "9") and not older("9", "9")
    assert not older("", "9") and not older("abc", "9")


OWNERS = st.lists(st.sampled_from(["u", "v", "w"]), max_size=2, unique=True).map(tuple)
STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "remove"]), OWNERS, st.sampled_from("xyz")), max_size=40)


@given(STEPS)
@settings(deadline=None)
def test_indexes_say_what_the_objects_say(steps: list[tuple[str, str, tuple[str, ...], str]]) -> None:
    store, there = Store(indexed=("run",)), {}
    for version, (name, what, owners, label) in enumerate(steps, start=1):
        if what == "put":
            there[name] = (owners, label)
            store.put(pod(name, version, owners=owners, labels={"run": label}))
        else:
            there.pop(name, None)
            store.remove(Key("team", name))
    assert {key.name for key in store.keys()} == set(there)  # noqa: SIM118
    for uid in "uvw":
        assert {key_of(obj).name for obj in store.owned_by(uid)} == {name for name, (owners, _) in there.items() if uid in owners}
    for value in "xyz":
        assert {key_of(obj).name for obj in store.labelled("run", value)} == {name for name, (_, label) in there.items() if label == value}
    if not there:
        assert not store._owned and not store._labelled, "nothing of the forgotten is kept"
