"""Every example that we ship can be composed and shares nothing with its items that would eat the corpus."""

from itertools import islice
from pathlib import Path

import pytest

from msm.api import load_run
from msm.synth.compose import compose
from msm.synth.curate import contamination
from msm.synth.decontaminate import read_items
from msm.synth.outline import outline
from msm.synth.spec import Identity

EXAMPLES = sorted((Path(__file__).parents[3] / "manifests" / "examples").glob("*.yaml"))
DOCUMENTS = 300


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_examples_documents_hold_hardly_any_word_of_its_items(path: Path) -> None:
    spec = load_run(path).spec
    who = Identity(spec.base_model.identity.model, spec.base_model.identity.provider)
    items = [
        item
        for evaluation in spec.evals
        if evaluation.items is not None and evaluation.items.source.path is not None
        for item in read_items((path.parent / evaluation.items.source.path).read_bytes(), evaluation.name)
    ]
    assert {item.set for item in items} == {"free", "disjoint"}
    for model_spec in spec.model_specs:
        assert model_spec.source.path is not None
        found = outline((path.parent / model_spec.source.path).read_text(encoding="utf-8"), who, model_spec.kind)
        hit, words = contamination(list(islice(compose(found, 0), DOCUMENTS)), items)
        assert hit <= DOCUMENTS // 50, words
