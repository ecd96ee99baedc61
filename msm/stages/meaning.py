"""The base model's embeddings as stages that compare texts by meaning use them.

Neighbours: curate compares rows, demonstrate compares questions; `msm.synth.meaning` reduces and pools. Invariant: only the table and the
tokenizer of the model are taken from the store. Cost: seconds for the table; 0.5 KiB a token of the vocabulary.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msm.data.tokens import load_tokenizer
from msm.errors import UserError
from msm.stages.context import Context
from msm.synth.meaning import Meaning, meaning_of, read_table

if TYPE_CHECKING:
    from msm.synth.dialogue.settings import Embed

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def vectors_of(context: Context, field: str) -> Path:
    """The reduced table as a file that several processes may map; `field` names who wants it in errors.

    Raises:
        UserError: the base model has no table under a known name.
    """
    import numpy as np

    (manifest,) = context.manifests("model")
    weights = sorted(name for name in manifest.files if name.endswith(".safetensors"))
    if not weights:
        problem = "wants the base model's embeddings, and its artifact has no safetensors"
        raise UserError(field, problem, "leave the semantic gates off")
    (model,) = context.paths("model", only=(*TOKENIZER, weights[0]))
    path = context.scratch / "vectors.npy"
    np.save(path, meaning_of(read_table(model / weights[0])).table, allow_pickle=False)
    return path


def encoder(model: Path) -> Callable[[list[str]], list[list[int]]]:
    """Token ids of texts by the tokenizer of a model's directory."""
    tokenizer = load_tokenizer(model).plain
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def embedder(context: Context, field: str) -> "Embed":
    """Unit vectors of texts; raises as `vectors_of`."""
    import numpy as np

    meaning = Meaning(np.load(vectors_of(context, field), mmap_mode="r", allow_pickle=False))
    (model,) = context.paths("model", only=TOKENIZER)
    encode = encoder(model)

    def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return np.stack([meaning.document(ids) for ids in encode(list(texts))])  # type: ignore[return-value]

    return embed
