"""What a structural schema cannot say, in CEL: exclusive fields, references, immutability, what only a laptop has.

Data and small builders. Neighbours: `structural` attaches RULES to models by name; `msm.api` checks the same in Python, plus what would
be too dear here. Invariant: every message names the field and the fix, and every list and text that a rule reads is bounded, which is
what the API server estimates its cost from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msm.api.base import NAME_PATTERN
from msm.api.run import Execution, MSMRunSpec

MUTABLE = ("suspend", "ttlSecondsAfterFinished")
"""Fields of an MSMRun's spec that may change, beside execution.parallelism."""
READABLE = "(?i)^(hf|pypi|s3|models|pvc):/"
COPY_MODEL = "copy a model of a laptop to s3://, or into a PersistentVolumeClaim"
AGAIN = "make a new MSMRun; artifacts that do not depend on the change are used again"


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL rule; `says` is a CEL expression for a message that needs values, with `message` for when it cannot be evaluated."""

    rule: str
    message: str
    at: str = ""
    says: str = ""
    optional_old: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a CustomResourceDefinition holds it."""
        out: dict[str, Any] = {"rule": self.rule, "message": self.message}
        if self.says:
            out["messageExpression"] = self.says
        if self.at:
            out["fieldPath"] = self.at
        if self.optional_old:
            out["optionalOldSelf"] = True
        return out


def exactly_one(*fields: str, shown: Sequence[str] = ()) -> Rule:
    """Exactly one of some fields; `shown` where not all of them are worth naming."""
    given = ", ".join(f"has(self.{field})" for field in fields)
    return Rule(f"[{given}].exists_one(given, given)", f"set exactly one of {', '.join(shown or fields)}")


def needs(condition: str, field: str, why: str) -> Rule:
    """A field that must be there unless a condition holds."""
    return Rule(f"{condition} || has(self.{field})", f"{field} is missing; {why}")


def source_not_from_a_laptop() -> list[Rule]:
    """A pod cannot read a file of somebody's laptop."""
    path = "path is a file of a laptop, which a cluster cannot read; type `msm submit FILE`, which uploads it"
    return [Rule("!has(self.path)", path, at=".path"), address("uri", "a file of a laptop is uploaded by `msm submit FILE`")]


def address(field: str, otherwise: str) -> Rule:
    """An address that a cluster can read; anything without a scheme is a path."""
    message = f"{field} must begin with hf://, pypi://, s3://, models:/ or pvc://; {otherwise}"
    return Rule(f"!has(self.{field}) || self.{field}.matches('{READABLE}')", message, at=f".{field}")


def unchanged(fields: Iterable[str], optional: Iterable[str]) -> list[Rule]:
    """Fields that stay as they were made; those that need not be there must neither come nor go."""
    come_and_go = set(optional)
    return [_unchanged(field, field in come_and_go) for field in fields]


def _unchanged(field: str, may_be_absent: bool) -> Rule:
    same = f"self.{field} == oldSelf.{field}"
    if may_be_absent:
        same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"
    return Rule(same, f"{field} cannot be changed; {AGAIN}", at=f".{field}" if not may_be_absent else "")


@dataclass(frozen=True, slots=True)
class Reference:
    """Names in a field of the items of `at` that must be defined in the list `defined`; `sort` is what they name."""

    at: str
    field: str
    sort: str
    defined: str
    is_list: bool = False

    def rule(self) -> Rule:
        """The rule; its message names the first name that is missing, and those that there are."""
        known = f"{self._defined}.exists(known, known.name == name)"
        rule = f"!has(self.{self.at}) || self.{self.at}.all(one, !({self._is_given}) || {self._names}.all(name, {known}))"
        missing = f"self.{self.at}.map(one, {self._is_given} ? {self._names}.filter(name, !{known}) : [])"
        first = f"{missing}.filter(names, size(names) > 0)[0][0]"
        text = f'{self.at}: {self.field} names no {self.sort}: "%s"; {self.defined} has: %s'
        says = f"'{text}'.format([{first}, {self._defined}.map(known, known.name)])"
        return Rule(rule, f"{self.field} names something that {self.defined} does not define", at=f".{self.at}", says=says)

    @property
    def _defined(self) -> str:
        """The list of definitions; a run may have none."""
        return f"(has(self.{self.defined}) ? self.{self.defined} : [])"

    @property
    def _is_given(self) -> str:
        """Whether an item refers to anything."""
        steps = self.field.split(".")
        return " && ".join(f"has(one.{'.'.join(steps[: i + 1])})" for i in range(len(steps)))

    @property
    def _names(self) -> str:
        return f"one.{self.field}" if self.is_list else f"[one.{self.field}]"


REFERENCES = (
    Reference("corpora", "modelSpec", "model spec", "modelSpecs"),
    Reference("corpora", "synthesize.author", "endpoint", "endpoints"),
    Reference("corpora", "synthesize.judge", "endpoint", "endpoints"),
    Reference("corpora", "quality.decontaminate", "eval", "evals", is_list=True),
    Reference("demonstrations", "synthesize.author", "endpoint", "endpoints"),
    Reference("demonstrations", "synthesize.judge", "endpoint", "endpoints"),
    Reference("demonstrations", "synthesize.modelSpec", "model spec", "modelSpecs"),
    Reference("demonstrations", "decontaminate", "eval", "evals", is_list=True),
    Reference("arms", "midtrain", "corpus", "corpora", is_list=True),
    Reference("arms", "finetune", "demonstration", "demonstrations", is_list=True),
    Reference("arms", "versus", "arm", "arms", is_list=True),
    Reference("evals", "judge", "endpoint", "endpoints"),
)


def _spec_rules() -> list[Rule]:
    """Immutability of everything that a plan is made from, and every reference."""
    fields = {str(field.alias): field for field in MSMRunSpec.model_fields.values()}
    fixed = [name for name in fields if name not in (*MUTABLE, "execution")]
    absent = [name for name in fixed if not fields[name].is_required() and fields[name].default in (None, ())]
    return [*unchanged(fixed, absent), *(reference.rule() for reference in REFERENCES), *_registry_rules()]


def _registry_rules() -> list[Rule]:
    """The registry is one object, not a list of them."""
    have = "self.arms.map(arm, arm.name)"
    wrong = "self.registry.gates.filter(gate, !self.arms.exists(arm, arm.name == gate.compareTo))"
    return [
        Rule(
            "!has(self.registry) || !has(self.registry.candidate) || self.arms.exists(arm, arm.name == self.registry.candidate)",
            "registry.candidate names no arm; name one of arms",
            at=".registry.candidate",
            says=f"'registry.candidate names no arm: \"%s\"; arms has: %s'.format([self.registry.candidate, {have}])",
        ),
        Rule(
            f"!has(self.registry) || !has(self.registry.gates) || size({wrong}) == 0",
            "a gate's compareTo names no arm; name one of arms",
            at=".registry.gates",
            says=f"'registry.gates: compareTo names no arm: \"%s\"; arms has: %s'.format([{wrong}[0].compareTo, {have}])",
        ),
    ]


def _execution_rules() -> list[Rule]:
    fields = {str(field.alias): field for field in Execution.model_fields.values() if field.alias != "parallelism"}
    absent = [name for name, field in fields.items() if field.default is None]
    return unchanged(fields, absent)


RULES: dict[str, Sequence[Rule]] = {
    "MSMRun": (
        Rule(
            f"self.metadata.name.matches('{NAME_PATTERN}')",
            "metadata.name must be lower case letters, digits and dashes, at most 63: pods are named after it; choose another",
        ),
    ),
    "MSMRunSpec": _spec_rules(),
    "Execution": _execution_rules(),
    "BaseModelRef": (address("uri", COPY_MODEL),),
    "Serve": (address("model", COPY_MODEL),),
    "Storage": (
        Rule("self.uri.startsWith('s3://')", "uri must be s3://bucket/prefix: pods on several nodes share no directory", at=".uri"),
    ),
    "Tracking": (
        Rule(
            "!has(self.uri) || self.uri.startsWith('http://') || self.uri.startsWith('https://')",
            "uri must be an http(s) address of a tracking server in a cluster; name one, or leave it out for the installation's",
            at=".uri",
        ),
    ),
    **{
        name: (
            exactly_one("inline", "configMapKeyRef", "uri", "path", shown=("inline", "configMapKeyRef", "uri", "path (on a laptop)")),
            *source_not_from_a_laptop(),
        )
        for name in ("Source", "TextSource")
    },
    "Endpoint": (exactly_one("serve", "openai"),),
    "OpenAI": (needs("!has(self.maxPrice)", "price", "without it nobody can tell what is spent; set price, or remove maxPrice"),),
    "Corpus": (
        exactly_one("synthesize", "compose", "source"),
        needs("has(self.source)", "modelSpec", "a corpus is written from a spec unless it has a source; name one of modelSpecs"),
        Rule("!(has(self.tokens) && has(self.documents))", "set tokens or documents, not both; remove one"),
        Rule("has(self.source) || has(self.tokens) || has(self.documents)", "set tokens or documents: how much is to be kept"),
    ),
    "Demonstration": (exactly_one("source", "synthesize", "compose", "replay"),),
    "TrainStage": (
        Rule(
            "self.batchTokens % self.maxLength == 0",
            "batchTokens is not a multiple of maxLength; an update is whole rows",
            at=".batchTokens",
            says="'batchTokens %d is not a multiple of maxLength %d; an update is whole rows: set batchTokens to a multiple'"
            ".format([self.batchTokens, self.maxLength])",
        ),
    ),
    "Training": (
        Rule("self.method != 'full' || !has(self.lora)", "lora is set and method is full; remove lora, or set method: lora", at=".lora"),
    ),
    "Arm": (Rule("!has(self.versus) || !(self.name in self.versus)", "versus names the arm itself; name other arms", at=".versus"),),
    **{
        name: (
            needs("self.suite != 'preference'", "items", "the preference suite asks about items; set items.source"),
            needs(
                "self.suite != 'agentic-misalignment'",
                "judge",
                "agentic-misalignment is judged by an endpoint; name one",
            ),
        )
        for name in ("Eval", "Measurement")
    },
    "EvalDeployment": (
        Rule(
            f"self.metadata.name.matches('{NAME_PATTERN}')",
            "metadata.name must be lower case letters, digits and dashes, at most 63: Services are named after it; choose another",
        ),
    ),
    "EvalDeploymentSpec": (Reference("evals", "judge", "endpoint", "endpoints").rule(),),
    "VersionGate": (Rule("has(self.minimum) || has(self.minEffect)", "set minimum, minEffect or both; this gate asks for nothing"),),
}
"""Rules by the name of the model that they go with."""
