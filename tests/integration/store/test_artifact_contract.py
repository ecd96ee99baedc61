"""The commit protocol, checkpoints and gc on both stores: what stages, executors and `msm gc` may rely on."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from msm.clock import SystemClock
from msm.errors import IntegrityError, MSMError, UserError
from msm.store import gc
from msm.store.artifacts import ArtifactRef, begin_attempt, materialise, open_attempt, read_manifest
from msm.store.blobs import get_blob, materialise_blob, put_blob
from msm.store.checkpoints import fetch_checkpoint, newest_checkpoints, prune, restore_newest, save_checkpoint
from msm.store.gc import collect
from msm.store.progress import Progress, read_progress

CLOCK = SystemClock()
KIND, FINGERPRINT = "midtrain", "0f" * 32
LATER = timedelta(days=30)


def attempt_with(store, files, kind=KIND, fingerprint=FINGERPRINT):
    attempt = begin_attempt(store, kind, fingerprint, CLOCK)
    for path, data in files.items():
        attempt.put_bytes(path, data)
    return attempt


def commit(attempt, **changes):
    return attempt.commit(
        **{"kind_version": 1, "inputs": {}, "params": {"lr": 1e-4}, "versions": {"torch": "2"}, "metrics": {"loss": 1.5}} | changes
    )


def damage(store, key):
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))


def checkpoint_of(tmp_path, attempt, step, text="weights"):
    directory = tmp_path / f"saving-{attempt.id}-{step}"
    (directory / "rank0").mkdir(parents=True)
    (directory / "rank0" / "optimizer.safetensors").write_text(f"{text} {step}")
    (directory / "manifest.json").write_text("a file of the checkpoint's own that is called like ours")
    return save_checkpoint(attempt, step, directory)


def backdate_is_impossible_so_look_from_the_future():
    return datetime.now(UTC) + LATER


def test_what_was_committed_is_read_back_whole(store, tmp_path):
    ref = ArtifactRef(kind="fetch", fingerprint="aa", content_digest="bb")
    committed = commit(attempt_with(store, {"rows.jsonl": b"{}\n", "deep/er/x": b""}), inputs={"base": [ref]})
    found = read_manifest(store, KIND, FINGERPRINT)
    assert found == committed
    assert found.inputs == {"base": [ref]}
    into = materialise(store, found, tmp_path / "into")
    assert {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()} == {
        "rows.jsonl": b"{}\n",
        "deep/er/x": b"",
    }


def test_the_manifest_is_camel_case_json_with_sizes_and_digests(store):
    commit(attempt_with(store, {"rows.jsonl": b"{}\n"}))
    raw = json.loads(store.get(f"{KIND}/{FINGERPRINT}/manifest.json"))
    assert {"kindVersion", "contentDigest", "started", "ended", "attempt", "metrics"} <= set(raw)
    assert raw["files"] == {"rows.jsonl": {"size": 3, "sha256": "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"}}


def test_equal_files_have_an_equal_content_digest_whoever_wrote_them(store):
    one = commit(attempt_with(store, {"a": b"1", "b": b"2"}, fingerprint="01"))
    other = commit(attempt_with(store, {"b": b"2", "a": b"1"}, fingerprint="02"))
    changed = commit(attempt_with(store, {"a": b"1", "b": b"3"}, fingerprint="03"))
    assert one.content_digest == other.content_digest != changed.content_digest


def test_nothing_is_read_before_the_commit(store):
    attempt_with(store, {"a": b"1"})
    assert read_manifest(store, KIND, FINGERPRINT) is None


def test_the_first_commit_wins_and_the_loser_gets_the_winners_manifest(store, tmp_path):
    first, second = attempt_with(store, {"a": b"first"}), attempt_with(store, {"a": b"second"})
    won, lost = commit(second), commit(first)
    assert won == lost == read_manifest(store, KIND, FINGERPRINT)
    assert won.attempt == second.id
    assert (materialise(store, lost, tmp_path / "into") / "a").read_bytes() == b"second"


def test_of_many_commits_all_return_one_manifest(store):
    attempts = [attempt_with(store, {"a": b"%d" % number}) for number in range(12)]
    start = threading.Barrier(12)

    def race(attempt):
        start.wait()
        return commit(attempt)

    with ThreadPoolExecutor(12) as pool:
        manifests = list(pool.map(race, attempts))
    assert all(manifest == manifests[0] for manifest in manifests)


def test_a_metric_that_is_not_finite_is_not_committed(store):
    with pytest.raises(MSMError, match=r"midtrain: metrics\.loss: .*nothing was committed"):
        commit(attempt_with(store, {}), metrics={"loss": float("nan")})
    assert read_manifest(store, KIND, FINGERPRINT) is None


def test_a_damaged_file_is_refused_and_not_left_behind(store, tmp_path):
    manifest = commit(attempt_with(store, {"model.safetensors": b"x" * 1000, "z": b""}))
    damage(store, manifest.key("model.safetensors"))
    with pytest.raises(
        IntegrityError, match=r"model\.safetensors: damaged: expected [0-9a-f]{64}, found [0-9a-f]{64}; delete the manifest"
    ):
        materialise(store, manifest, tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_a_shortened_and_a_missing_file_are_refused(store, tmp_path):
    manifest = commit(attempt_with(store, {"short": b"12345", "gone": b"12345"}))
    store.put(manifest.key("short"), b"1234")
    store.delete(manifest.key("gone"))
    with pytest.raises(IntegrityError, match="expected 5 bytes, found 4 bytes"):
        materialise(store, manifest, tmp_path / "one", only=["short"])
    with pytest.raises(IntegrityError, match="missing from the store"):
        materialise(store, manifest, tmp_path / "two", only=["gone"])


def test_some_files_can_be_asked_for(store, tmp_path):
    manifest = commit(attempt_with(store, {"config.json": b"{}", "model.safetensors": b"big"}))
    into = materialise(store, manifest, tmp_path / "into", only=["config.json"])
    assert [path.name for path in into.iterdir()] == ["config.json"]
    with pytest.raises(MSMError, match=r"no file tokenizer\.json; it has: config\.json, model\.safetensors"):
        materialise(store, manifest, tmp_path / "into", only=["tokenizer.json"])


def test_materialising_again_mends_what_was_spoiled_there(store, tmp_path):
    manifest = commit(attempt_with(store, {"a": b"right"}))
    into = materialise(store, manifest, tmp_path / "into")
    (into / "a").unlink()
    (into / "a").write_bytes(b"wrong")
    assert (materialise(store, manifest, into) / "a").read_bytes() == b"right"


MANIFEST_DAMAGE = {
    "cut off": lambda raw: raw[: len(raw) // 2],
    "another digest": lambda raw: raw.replace(b'"size": 1', b'"size": 2'),
    "an unknown key": lambda raw: raw.replace(b'"kind":', b'"surprise": 1, "kind":', 1),
    "a path that climbs": lambda raw: raw.replace(b'"a"', b'"../../a"'),
    "another fingerprint": lambda raw: raw.replace(FINGERPRINT.encode(), b"00"),
}


@pytest.mark.parametrize("spoil", MANIFEST_DAMAGE.values(), ids=MANIFEST_DAMAGE)
def test_a_damaged_manifest_is_refused_by_name(store, spoil):
    commit(attempt_with(store, {"a": b"1"}))
    key = f"{KIND}/{FINGERPRINT}/manifest.json"
    raw = store.get(key)
    assert spoil(raw) != raw
    store.put(key, spoil(raw))
    with pytest.raises(IntegrityError, match=f"{key}: damaged: .*delete it and run again"):
        read_manifest(store, KIND, FINGERPRINT)


@pytest.mark.parametrize(("kind", "fingerprint"), [("blobs", "aa"), ("runs", "aa"), ("a/b", "aa"), ("fetch", ".."), ("", "aa")])
def test_what_is_no_kind_and_fingerprint_is_refused(store, kind, fingerprint):
    with pytest.raises(UserError):
        begin_attempt(store, kind, fingerprint, CLOCK)


def test_files_logs_and_heartbeats_go_up_from_a_directory(store, tmp_path):
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "sub" / "f").write_text("f")
    (tmp_path / "log").write_text("line\n")
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    attempt.put_directory(tmp_path / "out")
    attempt.put_log(tmp_path / "log")
    attempt.write_progress(Progress(attempt=attempt.id, heartbeat=CLOCK.now(), step=3, total_steps=9, metrics={"loss": 2.0}))
    assert set(commit(attempt).files) == {"sub/f"}
    assert store.get(f"{attempt.prefix}log.txt") == b"line\n"
    assert [(seen.attempt, seen.step, seen.ended) for seen in read_progress(store, KIND, FINGERPRINT)] == [(attempt.id, 3, False)]
    assert json.loads(store.get(f"{attempt.prefix}progress.json"))["totalSteps"] == 9


def test_an_attempt_that_retires_says_so(store):
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    attempt.retire(Progress(attempt=attempt.id, heartbeat=CLOCK.now(), step=3))
    (seen,) = read_progress(store, KIND, FINGERPRINT)
    assert seen.ended


def test_an_unreadable_heartbeat_is_no_heartbeat(store):
    store.put(f"{KIND}/{FINGERPRINT}/attempts/a/progress.json", b"{")
    assert read_progress(store, KIND, FINGERPRINT) == []


def test_blobs_are_named_by_content_and_checked_on_reading(store, tmp_path):
    (tmp_path / "spec.md").write_text("a spec with {braces} and %s")
    sha256 = put_blob(store, tmp_path / "spec.md")
    assert put_blob(store, (tmp_path / "spec.md").read_bytes()) == sha256
    assert get_blob(store, sha256) == b"a spec with {braces} and %s"
    assert materialise_blob(store, sha256, tmp_path / "x" / "blob").read_text() == "a spec with {braces} and %s"
    damage(store, f"blobs/sha256/{sha256[:2]}/{sha256}")
    with pytest.raises(IntegrityError, match="damaged"):
        get_blob(store, sha256)
    with pytest.raises(IntegrityError, match="damaged"):
        materialise_blob(store, sha256, tmp_path / "y")
    assert put_blob(store, tmp_path / "spec.md") == sha256
    assert get_blob(store, sha256).startswith(b"a spec")


def test_a_missing_blob_and_what_is_no_digest_are_refused(store, tmp_path):
    with pytest.raises(IntegrityError, match="missing from the store"):
        get_blob(store, "00" * 32)
    with pytest.raises(IntegrityError, match="missing from the store"):
        materialise_blob(store, "00" * 32, tmp_path / "x")
    with pytest.raises(UserError, match="not a SHA-256"):
        get_blob(store, "../../etc/passwd")


def test_the_furthest_checkpoint_of_any_attempt_is_restored(store, tmp_path):
    first, second = begin_attempt(store, KIND, FINGERPRINT, CLOCK), begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    for attempt, step in [(first, 9), (first, 100), (second, 20)]:
        checkpoint_of(tmp_path, attempt, step)
    assert [checkpoint.step for checkpoint in newest_checkpoints(store, KIND, FINGERPRINT)] == [100, 20, 9]
    restored = restore_newest(store, KIND, FINGERPRINT, tmp_path / "into")
    assert (restored.step, restored.checkpoint.attempt, restored.skipped) == (100, first.id, ())
    assert (tmp_path / "into" / "rank0" / "optimizer.safetensors").read_text() == "weights 100"
    assert (tmp_path / "into" / "manifest.json").read_text().startswith("a file of the checkpoint's own")


def test_without_a_checkpoint_nothing_is_restored(store, tmp_path):
    assert restore_newest(store, KIND, FINGERPRINT, tmp_path / "into") is None


def test_a_checkpoint_that_was_never_finished_does_not_exist(store, tmp_path):
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    checkpoint_of(tmp_path, attempt, 5)
    store.put(f"{attempt.prefix}checkpoints/step-10/files/rank0/optimizer.safetensors", b"half")
    assert [checkpoint.step for checkpoint in newest_checkpoints(store, KIND, FINGERPRINT)] == [5]


CHECKPOINT_DAMAGE = {
    "a flipped bit": lambda store, newest: damage(store, newest.prefix + "files/rank0/optimizer.safetensors"),
    "a lost file": lambda store, newest: store.delete(newest.prefix + "files/rank0/optimizer.safetensors"),
    "a cut manifest": lambda store, newest: store.put(newest.prefix + "manifest.json", b'{"step": 1'),
}


@pytest.mark.parametrize("spoil", CHECKPOINT_DAMAGE.values(), ids=CHECKPOINT_DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_named(store, tmp_path, caplog, spoil):
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    checkpoint_of(tmp_path, attempt, 10)
    newest = checkpoint_of(tmp_path, attempt, 20)
    spoil(store, newest)
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "stale").write_text("from another life")
    restored = restore_newest(store, KIND, FINGERPRINT, tmp_path / "into")
    assert restored.step == 10
    assert f"checkpoint step 20 of attempt {attempt.id} is passed over" in restored.skipped[0]
    assert restored.skipped[0] in caplog.text
    assert sorted(path.name for path in (tmp_path / "into").iterdir()) == ["manifest.json", "rank0"]


def test_a_fetch_that_fails_leaves_the_directory_as_it_was(store, tmp_path):
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    checkpoint = checkpoint_of(tmp_path, attempt, 10)
    damage(store, checkpoint.prefix + "files/rank0/optimizer.safetensors")
    (tmp_path / "scratch" / "into").mkdir(parents=True)
    (tmp_path / "scratch" / "into" / "kept").write_text("")
    with pytest.raises(IntegrityError):
        fetch_checkpoint(store, checkpoint, tmp_path / "scratch" / "into")
    assert [path.name for path in (tmp_path / "scratch").rglob("*")] == ["into", "kept"]


def test_saving_a_step_again_replaces_it(store, tmp_path):
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    checkpoint_of(tmp_path, attempt, 10)
    again = open_attempt(store, KIND, FINGERPRINT, attempt.id, CLOCK)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "only").write_text("new")
    save_checkpoint(again, 10, tmp_path / "new")
    restore_newest(store, KIND, FINGERPRINT, tmp_path / "into")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["only"]


def test_while_a_step_is_saved_again_it_does_not_exist(store, tmp_path, monkeypatch):
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    checkpoint = checkpoint_of(tmp_path, attempt, 10)
    during, original = [], type(store).upload

    def spy(self, key, source):
        during.append(newest_checkpoints(self, KIND, FINGERPRINT))
        original(self, key, source)

    monkeypatch.setattr(type(store), "upload", spy)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "only").write_text("new")
    save_checkpoint(attempt, 10, tmp_path / "new")
    assert during == [[]]
    assert newest_checkpoints(store, KIND, FINGERPRINT) == [checkpoint]


def test_a_save_that_fails_half_way_leaves_the_one_before(store, tmp_path, monkeypatch):
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    checkpoint_of(tmp_path, attempt, 10)
    original = type(store).upload

    def full(self, key, source):
        if key.endswith("optimizer.safetensors"):
            raise UserError(key, "cannot be written: No space left on device")
        original(self, key, source)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "upload", full)
        with pytest.raises(UserError, match="No space left"):
            checkpoint_of(tmp_path, attempt, 20)
    assert not [found.key for found in store.list("") if "step-20/" in found.key]
    assert restore_newest(store, KIND, FINGERPRINT, tmp_path / "into").step == 10


def test_pruning_keeps_the_newest_and_what_lies_ahead_of_us(store, tmp_path):
    older, own, younger = sorted((begin_attempt(store, KIND, FINGERPRINT, CLOCK) for _ in range(3)), key=lambda attempt: attempt.id)
    for attempt, step in [(older, 10), (older, 90), (own, 20), (own, 30), (own, 40), (younger, 15)]:
        checkpoint_of(tmp_path, attempt, step)
    assert prune(own, keep=2) == 2
    left = {(checkpoint.attempt, checkpoint.step) for checkpoint in newest_checkpoints(store, KIND, FINGERPRINT)}
    assert left == {(older.id, 90), (own.id, 30), (own.id, 40), (younger.id, 15)}
    assert not [found.key for found in store.list("") if "step-20/" in found.key or "step-10/" in found.key]


def test_gc_deletes_what_no_run_refers_to_and_only_after_the_grace_period(store):
    kept, loose = commit(attempt_with(store, {"a": b"1"}, fingerprint="aa")), commit(attempt_with(store, {"a": b"12345"}, fingerprint="bb"))
    used, unused = put_blob(store, b"used"), put_blob(store, b"unused")
    plan = {"run": "r", "stages": [{"kind": KIND, "fingerprint": "aa", "blobs": [used]}]}
    store.put("runs/u1/plan.json", json.dumps(plan).encode())
    store.put("runs/u1/report.html", b"<html>")
    assert collect(store, datetime.now(UTC), timedelta(days=1)).deleted == ()
    future = backdate_is_impossible_so_look_from_the_future()
    dry = collect(store, future, timedelta(days=1), dry_run=True)
    report = collect(store, future, timedelta(days=1))
    assert dry == report
    assert set(report.deleted) == {f"{KIND}/bb/", f"blobs/sha256/{unused[:2]}/{unused}"}
    assert (report.kept, report.bytes > 11) == (2, True)
    assert read_manifest(store, KIND, "aa") == kept
    assert read_manifest(store, KIND, "bb") is None
    assert get_blob(store, used) == b"used"
    assert loose.key("a") not in [found.key for found in store.list("")]
    assert store.get("runs/u1/report.html") == b"<html>"
    assert collect(store, future, timedelta(days=1)).deleted == ()


@pytest.mark.parametrize("form", ['"{}"', '"sha256:{}"', '"blob:sha256:{}"'])
def test_gc_keeps_a_blob_wherever_and_however_a_plan_names_it(store, form):
    named, other = put_blob(store, b"named"), put_blob(store, b"other")
    plan = b'{"resolution": {"inputs": {"modelSpecs.x": {"location": LOCATION}}}, "stages": []}'
    store.put("runs/u1/plan.json", plan.replace(b"LOCATION", form.replace("{}", named).encode()))
    collect(store, backdate_is_impossible_so_look_from_the_future(), timedelta(0))
    assert [found.key.rpartition("/")[2] for found in store.list("blobs/")] == [named]
    assert other != named


def test_gc_removes_losers_and_checkpoints_of_a_committed_artifact(store, tmp_path):
    loser, winner = attempt_with(store, {"a": b"loser"}), attempt_with(store, {"a": b"winner"})
    checkpoint_of(tmp_path, winner, 10)
    manifest = commit(winner)
    store.put("runs/u1/plan.json", json.dumps({"stages": [{"kind": KIND, "fingerprint": FINGERPRINT}], "blobs": []}).encode())
    report = collect(store, backdate_is_impossible_so_look_from_the_future(), timedelta(days=1))
    assert set(report.deleted) == {loser.prefix, winner.prefix + "checkpoints/"}
    assert (materialise(store, manifest, tmp_path / "into") / "a").read_bytes() == b"winner"
    assert report.kept == 1


def test_gc_keeps_the_checkpoints_of_what_a_run_still_wants(store, tmp_path):
    attempt = begin_attempt(store, KIND, FINGERPRINT, CLOCK)
    checkpoint_of(tmp_path, attempt, 10)
    store.put("runs/u1/plan.json", json.dumps({"stages": [{"kind": KIND, "fingerprint": FINGERPRINT}]}).encode())
    collect(store, backdate_is_impossible_so_look_from_the_future(), timedelta(0))
    assert restore_newest(store, KIND, FINGERPRINT, tmp_path / "into").step == 10


def test_gc_leaves_an_attempt_that_still_beats_whatever_the_grace_period(store):
    attempt = attempt_with(store, {"a": b"1"})
    future = backdate_is_impossible_so_look_from_the_future()
    attempt.write_progress(Progress(attempt=attempt.id, heartbeat=future - timedelta(minutes=1)))
    assert collect(store, future, timedelta(0)).deleted == ()
    assert collect(store, future + timedelta(hours=1), timedelta(0)).deleted == (f"{KIND}/{FINGERPRINT}/",)


def test_gc_does_not_wait_for_an_attempt_that_said_it_ended(store):
    attempt = attempt_with(store, {"a": b"1"})
    future = backdate_is_impossible_so_look_from_the_future()
    attempt.write_progress(Progress(attempt=attempt.id, heartbeat=future, ended=True))
    assert collect(store, future, timedelta(0)).deleted == (f"{KIND}/{FINGERPRINT}/",)


CHANGES_MEANWHILE = {
    "a commit": lambda store, attempt, blob: commit(attempt),
    "a further file": lambda store, attempt, blob: attempt.put_bytes("b", b"2"),
}


@pytest.mark.parametrize("change", CHANGES_MEANWHILE.values(), ids=CHANGES_MEANWHILE)
def test_gc_leaves_what_changed_after_it_looked(store, monkeypatch, change):
    attempt = attempt_with(store, {"a": b"1"})
    blob = put_blob(store, b"named again by a new run")
    original = gc.decide_deletions

    def meanwhile(*arguments):
        doomed = original(*arguments)
        time.sleep(1.1)  # SeaweedFS dates objects to the second
        change(store, attempt, blob)
        put_blob(store, b"named again by a new run")
        return doomed

    monkeypatch.setattr(gc, "decide_deletions", meanwhile)
    assert collect(store, backdate_is_impossible_so_look_from_the_future(), timedelta(0)).deleted == ()
    assert get_blob(store, blob) == b"named again by a new run"
    assert store.get(f"{attempt.prefix}files/a") == b"1"


def test_gc_stops_at_a_plan_that_it_cannot_read(store):
    put_blob(store, b"unused")
    store.put("runs/u1/plan.json", b'{"stages": [')
    with pytest.raises(IntegrityError, match=r"runs/u1/plan\.json: is no readable plan, so nothing was deleted"):
        collect(store, backdate_is_impossible_so_look_from_the_future(), timedelta(0))
    assert len([found.key for found in store.list("blobs/")]) == 1
