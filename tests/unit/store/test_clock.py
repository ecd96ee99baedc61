import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from msm.clock import SystemClock, new_ulid
from tests.unit.store.manual_clock import ManualClock

TIMES = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2500, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_a_ulid_of_a_known_time_starts_as_the_specification_says():
    # 01ARZ3NDEKTSV4RRFFQ69G5FAV is the specification's example; its first ten characters are this millisecond.
    moment = datetime.fromtimestamp(1469922850.259, UTC)
    assert new_ulid(ManualClock(moment), random.Random(0)).startswith("01ARZ3NDEK")


@given(TIMES, TIMES, st.randoms(use_true_random=False))
def test_ulids_have_26_characters_and_sort_by_millisecond(one, other, rng):
    first, second = new_ulid(ManualClock(min(one, other)), rng), new_ulid(ManualClock(max(one, other)), rng)
    assert {len(first), len(second)} == {26}
    assert first[:10] <= second[:10]
    assert set(first) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def test_ulids_of_one_moment_differ():
    clock = ManualClock()
    assert len({new_ulid(clock) for _ in range(1000)}) == 1000


def test_the_system_clock_is_aware_and_goes_forward():
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.001)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() > before
