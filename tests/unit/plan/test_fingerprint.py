import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.plan.fingerprint import NotCanonical, canonical, digest, fingerprint
from tests.runs import example, plan

Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), Json))
def test_the_order_of_keys_does_not_matter(data: dict[str, object]) -> None:
    assert digest(data) == digest(dict(reversed(data.items())))


@given(Json)
def test_tuples_are_lists(value: object) -> None:
    assert canonical((value,)) == canonical([value])


def test_integral_floats_are_integers_and_other_floats_are_exact() -> None:
    assert canonical(128.0) == canonical(128)
    assert canonical(0.1) == b"0.1"
    assert canonical(1e-4) != canonical(1.0000000001e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, b"x", object(), {1: 2}], ids=repr)
def test_what_has_no_deterministic_form_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(NotCanonical, match=r"\$\.a\[0\]"):
        canonical({"a": [value]})


def test_every_part_of_the_material_counts() -> None:
    base = fingerprint("write", 1, {"a": 1}, {"x": ["f"]})
    others = [
        fingerprint("curate", 1, {"a": 1}, {"x": ["f"]}),
        fingerprint("write", 2, {"a": 1}, {"x": ["f"]}),
        fingerprint("write", 1, {"a": 2}, {"x": ["f"]}),
        fingerprint("write", 1, {"a": 1}, {"y": ["f"]}),
        fingerprint("write", 1, {"a": 1}, {"x": ["g"]}),
    ]
    assert len({base, *others}) == 6


def test_fingerprints_of_the_example_are_what_they_were() -> None:
    """A difference here means that everybody's finished work is redone: raise the kind's version, then pin the new value."""
    first = {stage.kind: stage.fingerprint[:16] for stage in reversed(plan(example()).stages)}
    assert first == GOLDEN


GOLDEN = {
    "curate": "c808391838d911f7",
    "demonstrate": "55e8e436aa900601",
    "evaluate": "a557501e8faa72cd",
    "fetch": "f20d619f4a43f7c3",
    "finetune": "78108cd64b72ee91",
    "midtrain": "1b32a98ce9323877",
    "outline": "b0b1d41b0221c27d",
    "write": "4ea96002a29f7120",
}
