"""From score files to results: effects against controls, arms side by side, warnings in plain words.

Neighbours: `evidence` reads and compares, `cautions` warns, the executor's session keeps the outcome. Invariant: a number in the results
is recomputed from committed artifacts, never carried over.
"""

from msm.evals.effects import SummaryRow, summarise
from msm.evals.statistics import Effect
from msm.results.rows import ArmRow, EffectRow, Results, StageRow
from msm.results.survey import Survey


def results_of(seen: Survey, stages: tuple[StageRow, ...]) -> Results:
    """What a survey says, as the run's results."""
    evidence = seen.evidence
    return Results(
        run=seen.plan.run,
        effects=tuple(_effect_row(effect) for effect in evidence.effects),
        stages=stages,
        arms=tuple(_arm_row(name, row) for name, scores in evidence.scores.items() for row in summarise(scores)),
        sentence=evidence.sentence,
        warnings=tuple(f"{caution.text}; {caution.advice}" for caution in seen.cautions),
    )


def _effect_row(effect: Effect) -> EffectRow:
    return EffectRow(
        metric=effect.metric,
        arm=effect.arm,
        versus=effect.versus,
        estimate=effect.estimate,
        low=effect.low,
        high=effect.high,
        confidence=effect.confidence,
        seeds=effect.seeds,
        items=effect.items,
    )


def _arm_row(evaluation: str, row: SummaryRow) -> ArmRow:
    return ArmRow(
        arm=row.arm,
        metric=f"{evaluation}.{row.value}.{row.set}",
        mean=row.margin,
        standard_error=row.standard_error,
        choice=row.choice,
        unscored=row.unscored,
        items=row.items,
    )
