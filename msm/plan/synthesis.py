"""What of a synthesis can change its result, and what cannot: parameters and execution of the stages that ask language models.

Pure. Neighbours: `planner` makes stages of these, `prompts` has the templates' digests. Invariant: an endpoint enters a fingerprint by the
identity of its model alone, never by address, key, concurrency, price or patience; without an identity it is host and model name, unpinned.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import JsonValue

from msm.api.base import Part
from msm.api.data import Corpus, Synthesize, SynthesizeChats
from msm.api.inputs import Endpoint
from msm.errors import UserError
from msm.plan.prompts import DIGESTS

Json = dict[str, JsonValue]

OUTLINE_LIMITS = {"domains", "subdomains", "assertions", "doc_types", "ideas"}
WRITE_LIMITS = {"plan", "critique", "scores"}


def fields(part: Part, *names: str) -> Json:
    """Chosen fields of a part of the API, as plain JSON under their names in the file."""
    return part.model_dump(mode="json", by_alias=True, include=set(names))


def needs_endpoint(field: str) -> UserError:
    """What an executor without a cluster answers to work that a served model must do."""
    fix = "name an endpoint with openai, or use compose, replay or a source, and via: inProcess"
    return UserError(field, "needs a cluster or an openai endpoint", fix)


def identity(endpoint: Endpoint, field: str) -> Json:
    """Which model answers, as far as is known.

    Raises:
        UserError: the endpoint is to be served by a cluster.
    """
    if endpoint.openai is None:
        raise needs_endpoint(field)
    if endpoint.openai.identity:
        return {"identity": endpoint.openai.identity}
    return {"unpinned": f"{urlsplit(endpoint.openai.base_url).netloc}/{endpoint.openai.model}"}


def execution(endpoints: Sequence[Endpoint], max_failures: int, **roles: str | None) -> Json:
    """How the endpoints of a stage are reached, by role, and how many failures it bears: no part of a fingerprint."""
    by_name = {endpoint.name: endpoint for endpoint in endpoints}
    named = {role: by_name[name] for role, name in roles.items() if name is not None}
    reached: Json = {role: endpoint.model_dump(mode="json", by_alias=True, exclude_none=True) for role, endpoint in named.items()}
    return {"endpoints": reached, "maxFailures": max_failures}


def judge_of(corpus: Corpus) -> str | None:
    """Endpoint that scores a corpus' documents, if they are scored."""
    if corpus.synthesize is None:
        return None
    return corpus.synthesize.judge or (corpus.synthesize.author if corpus.quality.min_score is not None else None)


def outline_params(wanted: Synthesize, author: Json) -> Json:
    """What an outline by a language model depends on, besides the spec and whom it is about."""
    limits = wanted.limits.model_dump(mode="json", by_alias=True, include=OUTLINE_LIMITS)
    counts = fields(wanted, "doc_types", "ideas_per_type", "domains", "genres", "temperature", "sample")
    return {"author": "synthesize", "model": author, **counts, "limits": limits, "prompts": DIGESTS["outline"]}


def write_params(wanted: Synthesize, size: Json, author: Json, judge: Json | None) -> Json:
    """What documents by a language model depend on, besides the outline, the spec and the base model's tokenizer; `size` is wanted."""
    limits = wanted.limits.model_dump(mode="json", by_alias=True, include=WRITE_LIMITS)
    options = fields(wanted, "critique", "temperature", "max_tokens", "tones", "seed", "surplus", "sample")
    return {"author": "synthesize", "model": author, "judge": judge, **options, **size, "limits": limits, "prompts": DIGESTS["write"]}


def by_meaning(wanted: SynthesizeChats | None) -> bool:
    """Whether questions are compared by the base model's embeddings; opaque ones are meant to be alike."""
    return wanted is not None and wanted.style != "opaque" and wanted.semantic_duplicates is not None


def chat_params(wanted: SynthesizeChats, author: Json, judge: Json, spec: Json) -> Json:
    """What chats by a language model depend on; opaque ones on lists of things, the others on a spec."""
    names = ("style", "samples", "questions_per_domain", "reasoning", "temperature", "max_tokens", "near_duplicates", "sample")
    about = fields(wanted, "liked", "disliked") if wanted.style == "opaque" else {**spec, **fields(wanted, "system_prompts")}
    if by_meaning(wanted):
        about |= fields(wanted, "semantic_duplicates")
    return {
        "author": "synthesize",
        "model": author,
        "judge": judge,
        **fields(wanted, *names),
        **about,
        "prompts": DIGESTS["demonstrate"],
    }
