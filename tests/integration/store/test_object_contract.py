"""What every object store promises, asked of a directory and of a real S3 server alike."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from msm.errors import UserError
from msm.store import ObjectNotFound
from msm.store.probe import MARKER


def keys(store, prefix=""):
    return sorted(found.key for found in store.list(prefix) if found.key != MARKER)


def test_what_was_put_is_got_and_replaced(store):
    store.put("a/b", b"one")
    store.put("a/b", b"two")
    assert store.get("a/b") == b"two"


def test_empty_objects_and_any_bytes_are_kept(store):
    everything = bytes(range(256)) * 300
    store.put("empty", b"")
    store.put("bytes", everything)
    assert (store.get("empty"), store.get("bytes")) == (b"", everything)


@pytest.mark.parametrize(
    "key", ["a b", "ü/ключ/キー", "plus+and%20percent", "q?x=1&y#z", "a.tar.gz", "step-1/x_y~(1)'!*", "=", "trailing."]
)
def test_odd_but_legal_keys_round_trip(store, key):
    store.put(key, b"x")
    assert store.get(key) == b"x"
    assert keys(store) == [key]
    assert store.put_if_absent(key, b"y") is False
    store.delete(key)
    assert store.stat(key) is None


@pytest.mark.parametrize(
    "key", ["", "/abs", "a//b", "../up", "a/../../b", "a/.", "a/", ".hidden", "nul\0", "a\\b", "line\n", "x" * 256, "y/" * 600 + "z"]
)
def test_keys_that_could_leave_the_store_are_refused(store, key):
    for act in (store.get, store.stat, store.delete, store.local_path, lambda k: store.put(k, b""), lambda k: store.put_if_absent(k, b"")):
        with pytest.raises(UserError, match="store key"):
            act(key)


def test_an_absent_object_is_said_to_be_absent(store, tmp_path):
    with pytest.raises(ObjectNotFound, match="no/such"):
        store.get("no/such")
    with pytest.raises(ObjectNotFound):
        store.download("no/such", tmp_path / "target")
    assert store.stat("no/such") is None
    assert not (tmp_path / "target").exists()
    store.delete("no/such")


def test_the_beginning_of_a_key_is_no_object(store):
    store.put("a/b/c", b"x")
    assert store.stat("a/b") is None
    with pytest.raises(ObjectNotFound):
        store.get("a/b")


def test_stat_and_list_tell_size_and_a_recent_time_and_the_etag_follows_the_content(store):
    store.put("k", b"12345")
    first = store.stat("k")
    assert first.size == 5
    assert abs(first.modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert [(found.size, found.etag) for found in store.list("k")] == [(5, first.etag)]
    store.put("k", b"54321")
    assert store.stat("k").etag != first.etag


def test_list_takes_any_beginning_of_a_key(store):
    for key in ("a/b", "a/bc/d", "a/c", "ab/x", "z"):
        store.put(key, b"")
    assert keys(store) == ["a/b", "a/bc/d", "a/c", "ab/x", "z"]
    assert keys(store, "a/") == ["a/b", "a/bc/d", "a/c"]
    assert keys(store, "a/b") == ["a/b", "a/bc/d"]
    assert keys(store, "a") == ["a/b", "a/bc/d", "a/c", "ab/x"]
    assert keys(store, "none/") == []


def test_list_goes_on_after_a_page(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"many/{number:04}", b""), range(1050)))
    assert len(keys(store, "many/")) == 1050


def test_deleting_leaves_the_neighbours(store):
    store.put("d/one", b"1")
    store.put("d/two", b"2")
    store.delete("d/one")
    assert keys(store) == ["d/two"]
    store.delete("d/two")
    store.put("d/one", b"again")
    assert store.get("d/one") == b"again"


@pytest.mark.parametrize("size", [0, 1, (16 << 20) + 5, 40 << 20], ids=["empty", "one byte", "just two parts", "three parts"])
def test_files_of_any_size_go_up_and_come_down(store, tmp_path, size):
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    (tmp_path / "source").write_bytes(data)
    store.upload("file", tmp_path / "source")
    store.download("file", tmp_path / "new" / "target")
    assert (tmp_path / "new" / "target").read_bytes() == data
    assert store.stat("file").size == size


def test_a_download_replaces_its_target_and_leaves_nothing_beside_it(store, tmp_path):
    target = tmp_path / "into" / "target"
    target.parent.mkdir()
    target.write_bytes(b"old and longer")
    store.put("k", b"new")
    store.download("k", target)
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_missing_source_is_named(store, tmp_path):
    with pytest.raises(UserError, match="no-such-file"):
        store.upload("k", tmp_path / "no-such-file")
    assert store.stat("k") is None


def test_creating_twice_keeps_the_first(store):
    assert store.put_if_absent("k", b"first") is True
    assert store.put_if_absent("k", b"second") is False
    assert store.get("k") == b"first"


def test_creating_after_a_delete_wins_again(store):
    store.put_if_absent("k", b"first")
    store.delete("k")
    assert store.put_if_absent("k", b"second") is True


@pytest.mark.parametrize("race", range(5))
def test_of_sixteen_threads_exactly_one_wins_and_its_bytes_stand(store, race):
    start = threading.Barrier(16)

    def create(number):
        start.wait()
        return store.put_if_absent(f"race-{race}/manifest.json", b"%d" % number * 1000)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert store.get(f"race-{race}/manifest.json") == b"%d" % won.index(True) * 1000


def test_readers_never_see_half_of_a_replacement(store):
    versions = [bytes([65 + number]) * 200_000 for number in range(4)]
    store.put("k", versions[0])
    stop = threading.Event()

    def read():
        seen = set()
        while not stop.is_set():
            seen.add(store.get("k"))
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for _ in range(10):
            for version in versions:
                store.put("k", version)
        stop.set()
        seen = set().union(*(reader.result() for reader in readers))
    assert seen <= set(versions)


def test_writers_and_deleters_of_one_directory_do_not_disturb_each_other(store):
    def churn(number):
        for _ in range(15):
            store.put(f"churn/deep/{number}", b"x")
            store.delete(f"churn/deep/{number}")
        store.put(f"churn/deep/{number}", b"stays")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(churn, range(8)))
    assert len(keys(store, "churn/")) == 8
