"""A plan without models has data as its targets; plans with models are what they were."""

from msm.api import parse_run
from msm.plan import Plan, plan_pilot
from msm.plan.decide import needed, ready
from msm.resolve.digests import text_identity
from tests.runs import example, plan, resolution
from tests.unit.synth_tree.runs import SPEC, run_data


def piloted() -> Plan:
    return plan_pilot(parse_run(run_data()), resolution(modelSpecs__bread=text_identity(SPEC.encode())))


def test_a_pilot_needs_its_data_and_nothing_else() -> None:
    found = piloted()
    assert [stage.kind for stage in needed(found, ())] == ["fetch", "outline", "write", "curate", "demonstrate"]
    assert {ref.kind for ref in found.targets} == {"curate", "demonstrate"}
    everything = {stage.fingerprint for stage in found.stages}
    assert needed(found, everything) == ()
    assert [stage.kind for stage in ready(found, {found.stages[0].fingerprint}, ())] == ["outline", "demonstrate"]


def test_curation_of_a_pilot_keeps_whatever_passes() -> None:
    (curate,) = (stage for stage in piloted().stages if stage.kind == "curate")
    assert (curate.params["documents"], curate.params["tokens"]) == (None, None)


def test_a_plan_without_further_targets_is_written_and_named_as_before() -> None:
    found = plan(example())
    assert "targets" not in found.model_dump(mode="json", by_alias=True)
    assert Plan.model_validate_json(found.model_dump_json(by_alias=True)) == found
    other = piloted()
    assert Plan.model_validate_json(other.model_dump_json(by_alias=True)) == other
    assert other.digest != other.model_copy(update={"targets": ()}).digest
