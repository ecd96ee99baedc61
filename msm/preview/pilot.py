"""A pilot: the same run, cut down to a few documents and dialogues of everything that a language model is to write.

Pure. Neighbours: `msm.plan.plan_pilot` plans the result, `projection` scales what it measured. Invariants: the run itself is not touched,
so neither are its uid, plan and fingerprints; domains, subdomains, assertions, document types and topics of chats are found by the very
questions of the full run, so their answers are used again; only the number of ideas a type, of documents and of chats is cut.
"""

from collections.abc import Iterator
from math import ceil

from msm.api.data import Corpus, Demonstration, Synthesize
from msm.api.run import Arm, MSMRun, MSMRunSpec
from msm.api.training import Training
from msm.synth.dialogue.questions import topics_wanted
from msm.synth.dialogue.settings import ChatSettings
from msm.synth.tree.counting import documents_of, tree_shape
from msm.synth.tree.settings import TreeSettings, WriteSettings

DOCUMENTS = 20
"""Documents of each corpus, and dialogues of each demonstration set."""
LONGEST_NAME = 57
"""Characters of a run's name in its pilot's: a name has at most 63."""


def pilot_of(run: MSMRun, documents: int, whole_outline: bool = False) -> MSMRun:
    """The run's synthesised data in small, without training and evals; with `whole_outline` all ideas are asked for, as in the full run.

    Evals stay as far as data must not contain their items.
    """
    spec = run.spec
    corpora = tuple(_corpus(corpus, documents, whole_outline) for corpus in used_corpora(run) if corpus.synthesize is not None)
    chats = tuple(_chats(chats, documents) for chats in used_chats(run) if chats.synthesize is not None)
    named = {corpus.model_spec for corpus in corpora} | {c.synthesize.model_spec for c in chats if c.synthesize is not None}
    kept_out = {name for corpus in corpora for name in corpus.quality.decontaminate} | {name for c in chats for name in c.decontaminate}
    cut = {
        "model_specs": tuple(text for text in spec.model_specs if text.name in named),
        "corpora": corpora,
        "demonstrations": chats,
        "training": Training(),
        "arms": (_arm([corpus.name for corpus in corpora], [c.name for c in chats]),),
        "seeds": MSMRunSpec.model_fields["seeds"].default,
        "evals": tuple(e for e in spec.evals if e.name in kept_out),
        "registry": None,
    }
    name = f"{run.metadata.name[:LONGEST_NAME].rstrip('-')}-pilot"
    found = run.model_copy(
        update={"metadata": run.metadata.model_copy(update={"name": name}), "spec": spec.model_copy(update=cut)},
    )
    return MSMRun.model_validate(found.model_dump(mode="json", by_alias=True))


def _arm(corpora: list[str], chats: list[str]) -> Arm:
    """A run has arms; this one is never trained."""
    return Arm.model_validate({"name": "pilot", "midtrain": corpora, "finetune": chats})


def used_corpora(run: MSMRun) -> list[Corpus]:
    """Corpora that some arm reads; the others are never made."""
    read = {name for arm in run.spec.arms for name in arm.midtrain}
    return [corpus for corpus in run.spec.corpora if corpus.name in read]


def used_chats(run: MSMRun) -> list[Demonstration]:
    """Demonstration sets that some arm reads."""
    read = {name for arm in run.spec.arms for name in arm.finetune}
    return [chats for chats in run.spec.demonstrations if chats.name in read]


def not_piloted(run: MSMRun) -> Iterator[str]:
    """What a pilot leaves out, since no language model writes it."""
    for corpus in used_corpora(run):
        if corpus.synthesize is None:
            yield f"{corpus.name} is {'read from a source' if corpus.source is not None else 'composed offline'}: nothing to pilot"
    for chats in used_chats(run):
        if chats.synthesize is None:
            how = "read from a source" if chats.source is not None else "answered by the base model" if chats.replay else "composed offline"
            yield f"{chats.name} is {how}: nothing to pilot"


def is_synthesised(run: MSMRun) -> bool:
    """Whether a language model writes anything of a run's data."""
    return any(c.synthesize is not None for c in used_corpora(run)) or any(c.synthesize is not None for c in used_chats(run))


def full_documents(corpus: Corpus) -> int:
    """Documents that the full run will about write."""
    assert corpus.synthesize is not None
    return documents_of(WriteSettings(tokens=corpus.tokens, documents=corpus.documents, surplus=corpus.synthesize.surplus))


def _corpus(corpus: Corpus, documents: int, whole_outline: bool) -> Corpus:
    assert corpus.synthesize is not None
    wanted, few = corpus.synthesize, min(documents, full_documents(corpus))
    ideas = wanted.ideas_per_type if whole_outline else min(wanted.ideas_per_type, _ideas(wanted, few))
    asked = wanted.model_copy(update={"surplus": 1.0, "ideas_per_type": ideas})
    return corpus.model_copy(update={"tokens": None, "documents": few, "synthesize": asked})


def _ideas(wanted: Synthesize, documents: int) -> int:
    """Ideas a type that are enough for so many documents in the smallest tree that a spec is taken to give."""
    _, branches = tree_shape(TreeSettings(domains=wanted.domains))
    return ceil(documents / (branches.low * (wanted.doc_types + len(wanted.genres))))


def _chats(chats: Demonstration, documents: int) -> Demonstration:
    """Fewer dialogues, spread over as many topics where that can be, so that the topics are the full run's."""
    assert chats.synthesize is not None
    wanted = chats.synthesize
    topics = topics_wanted(ChatSettings(samples=wanted.samples, questions_per_domain=wanted.questions_per_domain))
    few = min(documents, wanted.samples)
    asked = wanted.model_copy(update={"samples": few, "questions_per_domain": ceil(few / topics)})
    return chats.model_copy(update={"synthesize": asked})
