"""The reference's shipped setting asks as often as the reference does, for a general spec of ours; fields and caps beside it."""

from collections import Counter
from pathlib import Path

from msm.plan import kinds
from msm.synth.prompts import schemas
from msm.synth.spec import Identity
from msm.synth.tree.brief import brief
from msm.synth.tree.counting import Range, exactly, ideas_of, outline_steps, tree_shape
from msm.synth.tree.settings import Limits, TreeSettings
from tests.runs import example, plan
from tests.scripted import ScriptedAsker
from tests.unit.synth_tree.trees import SELF, grown, written

GENERAL = (Path(__file__).parent / "general_spec.md").read_text(encoding="utf-8")
DOMAINS, SUBDOMAINS = 4, 3
BRANCHES = DOMAINS * SUBDOMAINS
SHIPPED = TreeSettings(doc_types=20, ideas_per_type=25)
REFERENCE = {"domains": 1, "subdomains": DOMAINS, "assertions": BRANCHES, "docTypes": BRANCHES, "ideas": BRANCHES * 20}
"""Calls of the reference (method.md, 1.1): one a domain list, domain, subdomain, subdomain, (subdomain, type)."""
FIELDS = {
    "domains": {"domain"},
    "subdomains": {"subdomain", "context", "specSection"},
    "assertions": {"name", "text", "explanation", "label"},
    "docTypes": {"name", "description"},
    "ideas": {"title", "idea"},
}
"""Its fields; ours add `insider` to a type (who could know this)."""


def asker() -> ScriptedAsker:
    return ScriptedAsker(counts={"domains": DOMAINS, "subdomains": SUBDOMAINS, "assertions": 5})


def test_the_shipped_setting_asks_as_often_as_the_reference_and_has_as_many_ideas() -> None:
    scripted = asker()
    tree = grown(scripted, spec=GENERAL, doc_types=20, ideas_per_type=25)
    assert scripted.calls() == Counter(REFERENCE)
    assert tree.ideas == BRANCHES * 20 * 25
    assert len({i.id for b in tree.branches for t in b.types for i in t.ideas}) == tree.ideas


def test_one_call_writes_one_document() -> None:
    scripted = asker()
    tree = grown(scripted, spec=GENERAL, doc_types=2, ideas_per_type=3)
    scripted.asked.clear()
    found = written(tree, scripted, documents=tree.ideas, surplus=1, critique=False)
    assert scripted.calls() == {"documents": tree.ideas}
    assert len(found.rows) == tree.ideas


def test_the_counting_functions_say_the_same_beforehand() -> None:
    counted = {step.step: step.calls for step in outline_steps(SHIPPED, "values", 400, (exactly(DOMAINS), exactly(BRANCHES)))}
    assert counted == {step: exactly(calls) for step, calls in REFERENCE.items()}
    assert ideas_of(SHIPPED, exactly(26)) == exactly(13_000), "about the 13,201 documents of the released corpus"
    low, high = tree_shape(SHIPPED)
    assert (low, high) == (Range(3, 10), Range(6, 60))


def test_the_forms_have_the_reference_s_fields() -> None:
    forms = {
        "domains": schemas.DOMAINS,
        "subdomains": schemas.SUBDOMAINS,
        "assertions": schemas.ASSERTIONS,
        "docTypes": schemas.TYPES,
        "ideas": schemas.IDEAS,
    }
    found = {step: set(form["properties"][step]["items"]["properties"]) for step, form in forms.items()}
    assert found == FIELDS | {"docTypes": FIELDS["docTypes"] | {"insider"}}


def test_a_document_has_its_limit_to_itself() -> None:
    scripted = asker()
    tree = grown(scripted, spec=GENERAL, doc_types=1, ideas_per_type=1)
    scripted.asked.clear()
    written(tree, scripted, documents=1, limits=Limits(document=3000, plan=500, critique=200))
    assert {r.purpose: r.sampling.max_tokens for r in scripted.asked} == {"documents": 3500, "critique": 3200}


def test_the_spec_stands_first_and_is_the_same_bytes_in_every_step_that_shows_it() -> None:
    scripted = asker()
    tree = grown(scripted, spec=GENERAL, doc_types=1, ideas_per_type=1)
    written(tree, scripted, spec=GENERAL, documents=3, scored=True)
    shown = {step: {r.prefix for r in scripted.asked if r.purpose == step} for step in scripted.calls()}
    expected = brief(GENERAL, SELF, "values", 1.0, 0).prefix
    assert {step for step, prefixes in shown.items() if prefixes == {""}} == {"assertions", "docTypes"}
    assert all(prefixes == {expected} for prefixes in shown.values() if prefixes != {""})
    assert "{model_name}" not in expected
    assert brief(GENERAL, Identity("Wren", "Birdworks"), "rules", None, 3).prefix != expected


def test_composed_and_sourced_stages_kept_their_fingerprints() -> None:
    found = {
        s.name: s.fingerprint[:12]
        for s in plan(example()).stages
        if s.kind in (kinds.OUTLINE, kinds.WRITE, kinds.CURATE, kinds.DEMONSTRATE)
    }
    assert list(found.values()) == [
        "b0b1d41b0221",
        "c01dc4b062b9",
        "4ea96002a29f",
        "3a55601a8c33",
        "c808391838d9",
        "18afea37fef9",
        "55e8e436aa90",
        "52515dbf399b",
    ]


def test_the_table_in_the_docs_is_what_is_counted() -> None:
    page = (Path(__file__).parents[3] / "docs/concepts/synthesis.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    table = {row[0]: row for row in cells if len(row) == 8}
    documents = BRANCHES * 20 * 25
    counted = REFERENCE | dict.fromkeys(("documents", "critique", "scores"), documents)
    assert {step: int(table[step][-1].replace(",", "")) for step in counted} == counted
    limits = Limits()
    said = {"subdomains": limits.subdomains, "assertions": limits.assertions, "docTypes": limits.doc_types, "ideas": limits.ideas}
    assert {step: int(table[step][-2].replace(",", "")) for step in said} == said
    assert table["documents"][-2] == f"{limits.plan:,} + {limits.document:,}"
