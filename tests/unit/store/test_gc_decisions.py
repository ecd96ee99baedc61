"""What gc may delete, over arbitrary stores: never what is referred to, young or alive."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from msm.store.gc import ALIVE_FOR, Group, Roots, Survey, decide_deletions
from msm.store.objects import ObjectInfo
from msm.store.progress import Progress

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = timedelta(days=7)
AGES = st.integers(0, 20).map(lambda days: NOW - timedelta(days=days, minutes=1))
ARTIFACTS = [("fetch", "aa"), ("fetch", "bb"), ("midtrain", "aa")]
BLOBS = ["b1", "b2"]


def group(name, ages):
    return Group(name, tuple(ObjectInfo(key, 1, "e", age) for key, age in sorted(ages.items())))


@st.composite
def surveys(draw):
    artifacts, winners, beats = {}, {}, {}
    for kind, fingerprint in draw(st.sets(st.sampled_from(ARTIFACTS))):
        prefix, ages = f"{kind}/{fingerprint}/", {}
        attempts = draw(st.sets(st.sampled_from("PQR"), min_size=1))
        for attempt in attempts:
            inner = draw(st.sets(st.sampled_from(["files/a", "checkpoints/step-1/manifest.json", "progress.json"]), min_size=1))
            ages |= {f"{prefix}attempts/{attempt}/{path}": draw(AGES) for path in inner}
            if draw(st.booleans()):
                heartbeat = NOW - draw(st.sampled_from([timedelta(0), ALIVE_FOR * 2, -ALIVE_FOR * 2, timedelta(seconds=5)]))
                beats[f"{prefix}attempts/{attempt}/"] = Progress(attempt=attempt, heartbeat=heartbeat, ended=draw(st.booleans()))
        if draw(st.booleans()):
            winners[kind, fingerprint] = draw(st.sampled_from(sorted(attempts)))
            ages[prefix + "manifest.json"] = draw(AGES)
        artifacts[kind, fingerprint] = group(prefix, ages)
    blobs = {sha: group(f"blobs/sha256/{sha}", {f"blobs/sha256/{sha}": draw(AGES)}) for sha in draw(st.sets(st.sampled_from(BLOBS)))}
    return Survey(blobs, artifacts, winners, beats)


ROOTS = st.builds(Roots, st.frozensets(st.sampled_from(ARTIFACTS)), st.frozensets(st.sampled_from(BLOBS)))
GRACES = st.sampled_from([timedelta(0), GRACE])


def deleted(survey, roots, grace=GRACE):
    return {found.key: found for part in decide_deletions(survey, roots, NOW, grace) for found in part.objects}


@settings(max_examples=60, deadline=None)
@given(surveys(), ROOTS, GRACES)
def test_no_file_of_a_referenced_commit_and_no_referenced_blob_is_deleted(survey, roots, grace):
    keys = deleted(survey, roots, grace)
    for kind, fingerprint in roots.artifacts & survey.winners.keys():
        prefix = f"{kind}/{fingerprint}/"
        assert prefix + "manifest.json" not in keys
        assert not [key for key in keys if key.startswith(f"{prefix}attempts/{survey.winners[kind, fingerprint]}/files/")]
    assert not [sha for sha in roots.blobs if f"blobs/sha256/{sha}" in keys]


@settings(max_examples=60, deadline=None)
@given(surveys(), ROOTS, GRACES)
def test_nothing_younger_than_the_grace_period_is_deleted(survey, roots, grace):
    assert all(found.modified < NOW - grace for found in deleted(survey, roots, grace).values())


@settings(max_examples=60, deadline=None)
@given(surveys(), ROOTS, GRACES)
def test_nothing_of_an_attempt_that_beats_is_deleted(survey, roots, grace):
    keys = deleted(survey, roots, grace)
    alive = [prefix for prefix, beat in survey.beats.items() if not beat.ended and abs(NOW - beat.heartbeat) < ALIVE_FOR]
    assert not [key for key in keys for prefix in alive if key.startswith(prefix)]


@settings(max_examples=60, deadline=None)
@given(surveys(), ROOTS, GRACES)
def test_checkpoints_of_what_is_wanted_and_not_committed_stay(survey, roots, grace):
    wanted = [f"{kind}/{fingerprint}/" for kind, fingerprint in roots.artifacts - survey.winners.keys()]
    assert not [key for key in deleted(survey, roots, grace) for prefix in wanted if key.startswith(prefix)]


@settings(max_examples=60, deadline=None)
@given(surveys(), ROOTS, GRACES)
def test_whatever_is_old_dead_and_unreferenced_goes(survey, roots, grace):
    keys = deleted(survey, roots, grace)
    for sha, found in survey.blobs.items():
        assert (f"blobs/sha256/{sha}" in keys) == (sha not in roots.blobs and found.objects[0].modified < NOW - grace)
    for artifact in survey.artifacts.keys() - roots.artifacts:
        objects = survey.artifacts[artifact].objects
        beating = any(
            prefix.startswith(survey.artifacts[artifact].name) and abs(NOW - beat.heartbeat) < ALIVE_FOR
            for prefix, beat in survey.beats.items()
        )
        if not beating and all(found.modified < NOW - grace for found in objects):
            assert {found.key for found in objects} <= keys.keys()


@settings(max_examples=60, deadline=None)
@given(surveys(), ROOTS, ROOTS)
def test_more_roots_never_delete_more_of_what_is_committed(survey, fewer, others):
    more = Roots(fewer.artifacts | others.artifacts, fewer.blobs | others.blobs)
    assert deleted(survey, more).keys() <= deleted(survey, fewer).keys()


@settings(max_examples=60, deadline=None)
@given(surveys(), ROOTS)
def test_no_object_is_listed_for_deletion_twice(survey, roots):
    keys = [found.key for part in decide_deletions(survey, roots, NOW, GRACE) for found in part.objects]
    assert len(keys) == len(set(keys))
