"""What a reader must know before believing a table: each as what is the matter and what to do about it.

Pure over what was read already. Neighbours: `findings` and `compose` show them, worst first. Invariant: a caution names what it is about
and its numbers; many of a kind are one caution, so that a run of seven arms and five seeds stays readable.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msm.api import MSMRun
from msm.evals.conclusion import own_values
from msm.evals.statistics import Effect
from msm.plan import Plan, Stage
from msm.plan.decide import stale
from msm.plan.kinds import TRAINING
from msm.report.asked import ItemSet, Score
from msm.report.model import Caution
from msm.store.artifacts import Manifest
from msm.train.counting import FEW_UPDATES

MANY_UNSCORED = 0.1
"""Share of answers that could not be read from which it is said."""
Rates = Mapping[str, Any]
"""One model's entry of health.json."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What cautions are drawn from; `health` by (eval, seed, model's fingerprint)."""

    run: MSMRun
    plan: Plan
    manifests: Mapping[str, Manifest]
    missing: Sequence[Stage]
    effects: Sequence[Effect]
    scores: Sequence[Score]
    sets: Sequence[ItemSet]
    health: Mapping[tuple[str, int, str], Rates]


def cautions(seen: Seen) -> tuple[Caution, ...]:
    """Everything to know, the gravest first."""
    rules = (unfinished, stale_stages, few_updates, broken_chat, shared_words, only_shared_words, no_control, one_seed, unscored, unpinned)
    return tuple(caution for rule in rules for caution in rule(seen))


def unfinished(seen: Seen) -> Iterator[Caution]:
    """Stages that must still run."""
    if seen.missing:
        names = _listed([stage.name for stage in seen.missing], 4)
        text = f"the run is not finished: {len(seen.missing)} of {len(seen.plan.stages)} stages must still run ({names})"
        yield Caution(kind="unfinished", text=text, advice="run it to its end; what is shown rests on what is committed so far")


def stale_stages(seen: Seen) -> Iterator[Caution]:
    """Stages that read other bytes than their input has now: it was deleted and made again, and came out differently."""
    current = {fingerprint: manifest.content_digest for fingerprint, manifest in seen.manifests.items()}
    for stage in seen.plan.stages:
        if (manifest := seen.manifests.get(stage.fingerprint)) is not None:
            recorded = {ref.fingerprint: ref.content_digest for refs in manifest.inputs.values() for ref in refs}
            for fingerprint in stale(recorded, current):
                text = f"{stage.name} is stale: its input {fingerprint[:12]} was made again since, with other contents"
                yield Caution(kind="stale", text=text, advice="delete the stage's artifact and run again to make it from the present input")


def few_updates(seen: Seen) -> Iterator[Caution]:
    """Trainings too short to teach, one caution a kind."""
    for kind in TRAINING:
        trained = [(int(seen.manifests[s.fingerprint].metrics.get("updates", FEW_UPDATES)), s.name) for s in _committed(seen, kind)]
        few = sorted((updates, name) for updates, name in trained if updates < FEW_UPDATES)
        if few:
            least, name = few[0]
            who = f"{name} has" if len(few) == 1 else f"{len(few)} of {len(trained)} {kind} stages have"
            span = f"{least}" if least == few[-1][0] else f"{least} to {few[-1][0]}"
            text = f"{who} {span} updates, under {FEW_UPDATES}: too few to expect the behaviour to change"
            yield Caution(kind="few-updates", text=text, advice="lower batchTokens, raise epochs or add tokens")


def _committed(seen: Seen, kind: str) -> list[Stage]:
    return [stage for stage in seen.plan.stages if stage.kind == kind and stage.fingerprint in seen.manifests]


def broken_chat(seen: Seen) -> Iterator[Caution]:
    """Models that no longer end their turns, loop, or leak template marks."""
    for (_, seed, fingerprint), rates in seen.health.items():
        arms = [m.arm for m in seen.plan.models if m.seed == seed and m.model.fingerprint == fingerprint]
        if arms and (rates["ended"] < 0.5 or max(rates["repeated"], rates["leaked"], rates["empty"]) > 0.5):
            named = ", ".join(f"{name} {rates[name]:.0%}" for name in ("ended", "repeated", "leaked", "empty"))
            text = f"{' and '.join(arms)} seed {seed}: its chat format is damaged ({named} of the everyday questions)"
            yield Caution(
                kind="broken-chat",
                text=text,
                advice="trust margins over answers here; add replayed chats to finetune, or train more gently",
            )


def shared_words(seen: Seen) -> Iterator[Caution]:
    """Sets of items whose words the training texts use, and disjoint ones that are not."""
    known = [(group, group.shared) for group in seen.sets if group.shared is not None]
    shortcuts = [_shared(g, n) for g, n in known if g.set != "disjoint" and n > g.items / 2]
    if shortcuts:
        text = f"items that share content words with the training texts: {_listed(shortcuts, 4)}; what they show may be the words alone"
        yield Caution(kind="shared-words", text=text, advice="read them beside items that share none, such as the set disjoint")
    mixed = [_shared(g, n) for g, n in known if g.set == "disjoint" and n]
    if mixed:
        text = f"items called disjoint that do share content words with the training texts: {_listed(mixed, 4)}"
        yield Caution(
            kind="shared-words", text=text, advice="name the eval under decontaminate of every corpus and demonstration, then run again"
        )


def only_shared_words(seen: Seen) -> Iterator[Caution]:
    """Rises of an arm's own values that show on items which share words, and on no other."""
    clean = {(g.eval, g.value, g.set): g.shared == 0 for g in seen.sets if g.shared is not None}
    found: dict[str, list[str]] = {}
    own = own_values(seen.effects, seen.run.spec.arms)
    for (evaluation, arm, value), by_set in _margins(seen.effects).items():
        if (arm, value) not in own:
            continue
        rises = [set_ for set_, effect in by_set.items() if effect.sign > 0]
        tellers = [set_ for set_ in by_set if clean.get((evaluation, value, set_))]
        if clean and rises and not any(set_ in tellers for set_ in rises):
            found.setdefault("seen" if tellers else "untold", []).append(f"{value} in {arm}")
    if "seen" in found:
        text = f"a rise on items that share words with the training texts, and none on items that share none: {_listed(found['seen'], 6)}"
        yield Caution(
            kind="only-shared-words", text=text, advice="do not read it as a value that generalised; it may be a preference for words"
        )
    if "untold" in found:
        text = f"a rise that only items which share words with the training texts could show: {_listed(found['untold'], 6)}"
        yield Caution(
            kind="only-shared-words", text=text, advice="add items that share no content word (set: disjoint) and decontaminate by them"
        )


def _margins(effects: Sequence[Effect]) -> dict[tuple[str, str, str], dict[str, Effect]]:
    """(eval, arm, value) -> set -> margin effect of the arm's first comparison."""
    first: dict[str, str] = {}
    table: dict[tuple[str, str, str], dict[str, Effect]] = {}
    for effect in effects:
        evaluation, value, set_, measure = effect.metric.rsplit(".", 3)
        if measure == "margin" and first.setdefault(effect.arm, effect.versus) == effect.versus:
            table.setdefault((evaluation, effect.arm, value), {})[set_] = effect
    return table


def no_control(seen: Seen) -> Iterator[Caution]:
    """Arms with midtraining that nothing is compared with, once there are scores."""
    compared = {effect.arm for effect in seen.effects}
    alone = [arm.name for arm in seen.run.spec.arms if arm.midtrain and arm.name not in compared]
    if alone and seen.scores:
        text = f"nothing to compare {_listed(alone, 6)} with: no arm differs by the midtraining alone"
        yield Caution(kind="no-control", text=text, advice="add an arm with the same finetune and no midtrain, or name one under versus")


def one_seed(seen: Seen) -> Iterator[Caution]:
    """One training of each arm."""
    if len(seen.run.spec.seeds) == 1:
        text = "one seed: the intervals speak of items, not of what another training run would give"
        yield Caution(kind="one-seed", text=text, advice="list three seeds or more before you rest a claim on it")


def unscored(seen: Seen) -> Iterator[Caution]:
    """Answers that could not be read."""
    many = [f"{s.arm} on {_group(s.metric)} {s.unscored} of {s.asked}" for s in seen.scores if s.unscored > MANY_UNSCORED * s.asked]
    if many:
        text = f"answers that name neither option, or both, are left out of the choices: {_listed(many, 4)}"
        yield Caution(
            kind="unscored", text=text, advice="read the answers below; a share of few answers says little, the margins lose none"
        )


def unpinned(seen: Seen) -> Iterator[Caution]:
    """A base model or an endpoint that may be another one tomorrow."""
    base = seen.run.spec.base_model
    if (base.uri.startswith("hf://") and not base.revision and "@" not in base.uri) or (
        base.uri.startswith("pypi://") and "#" not in base.uri
    ):
        identity = seen.plan.resolution.identity("baseModel")
        text = f"the run file does not pin its base model; this run used {identity}"
        yield Caution(
            kind="unpinned", text=text, advice="write the revision (hf) or #sha256 (pypi) into the file, so that others get the same"
        )
    loose = [e.name for e in seen.run.spec.endpoints if e.openai is not None and e.openai.identity is None]
    if loose:
        text = f"models behind an endpoint without identity: {_listed(loose, 6)}; they may change under the same name"
        yield Caution(kind="unpinned", text=text, advice="write the model's identity into endpoints")


def _shared(group: ItemSet, shared: int) -> str:
    return f"{group.value}.{group.set} {shared} of {group.items} ({', '.join(group.shared_words[:4])})"


def _group(metric: str) -> str:
    return metric.split(".", 1)[1].rpartition(".")[0]


def _listed(names: Sequence[str], most: int) -> str:
    """Names with commas; of many, the first and how many more."""
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - most} more" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more
