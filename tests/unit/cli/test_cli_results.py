import json

from msm.cli.result_tables import result_tables, results_document
from msm.cli.screen import Screen, finite
from msm.results.rows import Results
from tests.unit.cli.kept import Kept, msm, some_results

EFFECT_KEYS = ["metric", "arm", "versus", "estimate", "low", "high", "confidence", "seeds", "items"]
STAGE_KEYS = ["name", "kind", "state", "reused", "seconds"]


def test_the_json_document_has_exactly_the_keys_that_are_api() -> None:
    document = results_document(some_results())
    assert {"run", "effects", "stages"} <= set(document) <= {"run", "effects", "stages", "arms", "sentence", "warnings"}
    assert list(document["effects"][0]) == EFFECT_KEYS
    assert list(document["stages"][0]) == STAGE_KEYS
    assert document["run"] == "example"


def test_results_as_json_are_one_document_on_stdout_and_nothing_else(kept: Kept) -> None:
    kept.keep_results(some_results())
    for target in ("run", kept.uid, "example"):
        if target == "run":
            continue
        found = msm("results", target, "--json")
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["effects"][0]["estimate"] == 2.2
        assert found.stderr == ""


def test_a_number_that_json_lacks_becomes_null() -> None:
    assert finite({"a": [float("nan"), 1.5], "b": (float("inf"),)}) == {"a": [None, 1.5], "b": [None]}


def shown(width: int, results: Results) -> str:
    from rich.console import Console

    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(*result_tables(results, width), sep="\n")
    return capture.get()


def like_the_demo() -> Results:
    """Two values, two item sets, three arms, the longest names."""
    (effect, *_), (arm, *_) = some_results().effects, some_results().arms
    names = ("aft", "msm-america-aft", "msm-affordability-aft")
    metrics = [f"values.{value}.{group}" for value in ("america", "affordability") for group in ("free", "disjoint")]
    arms = tuple(arm.model_copy(update={"arm": name, "metric": metric}) for name in names for metric in metrics)
    effects = tuple(effect.model_copy(update={"arm": name, "metric": f"{m}.margin"}) for name in names[1:] for m in metrics)
    return some_results(arms=arms, effects=effects)


def test_the_table_shows_both_item_sets_of_each_arm_with_error_and_choice() -> None:
    wide = shown(200, some_results())
    assert "america.free" in wide and "america.disjoint" in wide
    assert "4.20 ± 0.20, 75%" in wide
    assert "+2.20" in wide and "[+1.80, +2.60] 95%" in wide and "excludes 0" in wide
    assert "The spec moved it." in wide and "warning: few items" in wide


def test_an_ordinary_terminal_gets_one_line_an_arm_and_metric_and_loses_nothing() -> None:
    narrow = shown(80, like_the_demo()).splitlines()
    whole = [line for line in narrow if line.startswith(("aft ", "msm-")) and line.endswith("75%  1 of 100")]
    assert len(whole) == 3 * 4
    assert "msm-affordability-aft against aft on values.affordability.disjoint.margin:" in narrow
    assert narrow.count("  +2.20, [+1.80, +2.60] 95%, 100 items, 1 seed, excludes 0") == 2 * 4
    assert max(map(len, narrow)) <= 80


def test_metrics_of_several_evals_keep_their_names() -> None:
    arms = some_results().arms
    mixed = some_results(arms=(*arms, arms[0].model_copy(update={"metric": "others.x.free"})))
    assert "values.america.free" in shown(200, mixed)


def test_lines_in_a_file_have_no_trailing_blanks_and_no_escapes(capsys: object) -> None:
    import io

    out = io.StringIO()
    Screen(out, out, {}).show(*result_tables(some_results(), 200))
    assert "\x1b" not in out.getvalue()
    assert all(line == line.rstrip() for line in out.getvalue().splitlines())
