"""Waits between tries, what Retry-After may say, and when a question or an endpoint is given up."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.llm.patience import Patience, Trouble, after_failure, backoff, judge, retry_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = Patience(seconds=100.0, tries=4)
NEVER = float("-inf")

SAID = {
    "seconds": ({"retry-after": "7"}, 7.0),
    "a fraction of a second": ({"retry-after": "0.25"}, 0.25),
    "milliseconds go before seconds": ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
    "an HTTP date": ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90.0),
    "a date that has passed": ({"retry-after": format_datetime(NOW - timedelta(days=1), usegmt=True)}, 0.0),
    "a date without a zone is not guessed": ({"retry-after": "Thu, 01 Jan 2026 00:01:00 -0000"}, None),
    "nothing": ({}, None),
    "an empty value": ({"retry-after": ""}, None),
    "a word": ({"retry-after": "soon"}, None),
    "a negative number": ({"retry-after": "-5"}, None),
    "no number at all": ({"retry-after": "nan"}, None),
    "for ever": ({"retry-after": "inf"}, None),
}


@pytest.mark.parametrize("case", SAID.values(), ids=SAID)
def test_retry_after(case):
    headers, expected = case
    assert retry_after(headers, NOW) == expected


@given(st.integers(1, 10_000), st.integers())
def test_waits_grow_to_their_limit_and_are_spread_over_half_of_it(failures, seed):
    wait = backoff(failures, PATIENCE, random.Random(seed))
    full = min(PATIENCE.longest, PATIENCE.first * 2.0 ** min(failures - 1, 50))
    assert full / 2 <= wait <= full


def failing(failures, counts=True, every=1.0, answers=()):
    """The verdicts over so many failures; `answers`: seconds at which the endpoint answered somebody."""
    trouble, verdicts = Trouble(), []
    for number in range(failures):
        now = 1000.0 + number * every
        heard = max((moment for moment in answers if moment < now), default=NEVER)
        trouble = after_failure(trouble, now, counts, heard)
        verdicts.append(judge(trouble, PATIENCE, heard))
    return verdicts


OFTEN = [1000.0 + step / 2 for step in range(2000)]
COURSES = {
    "a question that fails while others are answered has its tries and no more": (
        {"failures": 4, "answers": OFTEN},
        ["again"] * 3 + ["question"],
    ),
    "a question that is turned away for load is asked as long as others are answered": (
        {"failures": 500, "counts": False, "answers": OFTEN},
        ["again"] * 500,
    ),
    "failures while nobody is answered are the endpoint's": ({"failures": 20}, ["again"] * 20),
    "an endpoint that answers nobody is given up after the patience": ({"failures": 5, "every": 30.0}, ["again"] * 4 + ["endpoint"]),
    "answers before the outage do not turn it into the question's fault": (
        {"failures": 5, "every": 30.0, "answers": [999.0, 1000.5]},
        ["again"] * 4 + ["endpoint"],
    ),
    "a question that times out again and again is given up after three times and the patience": (
        {"failures": 3, "every": 60.0, "answers": OFTEN},
        ["again", "again", "question"],
    ),
}


@pytest.mark.parametrize("case", COURSES.values(), ids=COURSES)
def test_when_to_stop(case):
    course, expected = case
    assert failing(**course) == expected


@given(st.lists(st.booleans(), max_size=60), st.floats(0.1, 50))
def test_no_question_is_given_up_while_nobody_is_answered(counts, every):
    trouble = Trouble()
    for number, counted in enumerate(counts):
        trouble = after_failure(trouble, 1000.0 + number * every, counted, NEVER)
        assert judge(trouble, PATIENCE, NEVER) != "question"
