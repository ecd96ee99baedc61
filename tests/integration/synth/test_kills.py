"""More than 500 injected kills: before and after every single question of a tree, of its documents and of demonstrations."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.scripted import ScriptedAsker
from tests.unit.synth_tree.test_asking import Dying, Killed
from tests.unit.synth_tree.test_dialogue import made
from tests.unit.synth_tree.trees import a_tree, grown, written

pytestmark = pytest.mark.slow
TREE = a_tree()
WORK: dict[str, tuple[Callable[[Any], Any], int]] = {
    "a tree": (lambda asker: grown(asker, doc_types=40, ideas_per_type=1, size=1), 170),
    "documents": (lambda asker: written(TREE, asker, documents=16, scored=True, size=1).rows, 60),
    "demonstrations": (lambda asker: made(asker, samples=12, size=1), 30),
}


@pytest.mark.parametrize(("work", "least"), WORK.values(), ids=WORK)
@pytest.mark.parametrize("when", ["before", "after"])
def test_no_answer_is_lost_and_none_is_asked_for_twice(work: Callable[[Any], Any], least: int, when: str) -> None:
    undisturbed = ScriptedAsker(sentences=3)
    expected, total = work(undisturbed), len(undisturbed.asked)
    assert total >= least
    for at in range(1, total):
        asker = ScriptedAsker(sentences=3)
        with pytest.raises(Killed):
            work(Dying(asker, at, when))
        assert work(asker) == expected
        assert len(asker.asked) == total, f"killed {when} question {at}: something was asked twice"
