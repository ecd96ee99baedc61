"""The CustomResourceDefinitions of MSMRun and EvalDeployment, as objects and as the YAML that the chart ships.

Pure and deterministic. Neighbours: `structural` makes the schemas, `docs/generate.py` writes the files, the chart's template reads them.
Invariant: one stored version; the status is a subresource that users cannot write with the spec.
"""

from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from msm.api.crd.structural import Schema, structural_schema
from msm.api.evaldeployment import EvalDeployment, EvalDeploymentStatus
from msm.api.run import API_VERSION, MSMRun
from msm.api.status import MSMRunStatus

GROUP, VERSION = API_VERSION.split("/")
KEEP = {"helm.sh/resource-policy": "keep"}
"""`helm uninstall` leaves the definitions: without them every run's record in the cluster would go."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `wide` shows it with -o wide only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As a definition holds it."""
        out: dict[str, Any] = {"name": self.name, "type": self.type, "description": self.description, "jsonPath": self.path}
        return out | ({"priority": 1} if self.wide else {})


def _condition(type_: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field}'


AGE = Column("Age", ".metadata.creationTimestamp", "Time since it was made.", type="date")
RUN_COLUMNS = (
    Column("Stage", ".status.stage", "What is at work."),
    Column("Progress", ".status.progress.percentage", "Share of the work that is done, in percent.", type="integer"),
    Column("ETA", ".status.progress.remaining", "Time until the end at the present rate."),
    Column("Succeeded", _condition("Succeeded", "status"), "Whether everything is committed."),
    Column("Reason", _condition("Succeeded", "reason"), "Why."),
    Column("Model", ".spec.baseModel.uri", "The pretrained model every arm starts from.", wide=True),
    Column("Arms", ".status.plan.arms", "Arms that are compared.", type="integer", wide=True),
    Column("Reused", ".status.plan.reused", "Stages that were committed before this run.", type="integer", wide=True),
    AGE,
)
DEPLOYMENT_COLUMNS = (
    Column("Version", ".status.version", "Version that is served."),
    Column("Candidate", ".status.candidateVersion", "Version that is being tried."),
    Column("Ready", _condition("Ready", "status"), "Whether the served version answers."),
    Column("Reason", _condition("Ready", "reason"), "Why."),
    Column("URL", ".status.url", "The stable address.", wide=True),
    Column("Model", ".spec.model", "Registered model.", wide=True),
    Column("Alias", ".spec.alias", "Alias that is followed.", wide=True),
    AGE,
)


@dataclass(frozen=True, slots=True)
class Definition:
    """One kind: its models, its names, its columns."""

    model: type[BaseModel]
    status: type[BaseModel]
    plural: str
    short: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def kind(self) -> str:
        """Such as MSMRun."""
        return self.model.__name__

    @property
    def name(self) -> str:
        """Such as msmruns.modelspec.dev."""
        return f"{self.plural}.{GROUP}"

    def schema(self) -> Schema:
        """The structural schema of a whole object; apiVersion, kind and metadata are the API server's to check."""
        schema = structural_schema(self.model)
        properties = schema["properties"]
        properties["metadata"] = {"type": "object"}
        for field in ("apiVersion", "kind"):
            properties[field] = {"type": "string", "description": properties[field]["description"]}
        schema["required"] = ["spec"]
        return {**schema, "properties": {**properties, "status": structural_schema(self.status)}}

    def to_dict(self) -> dict[str, Any]:
        """The CustomResourceDefinition."""
        names = {"kind": self.kind, "listKind": f"{self.kind}List", "plural": self.plural, "singular": self.kind.lower()}
        version = {
            "name": VERSION,
            "served": True,
            "storage": True,
            "subresources": {"status": {}},
            "additionalPrinterColumns": [column.to_dict() for column in self.columns],
            "schema": {"openAPIV3Schema": self.schema()},
        }
        names_with_more = {**names, "shortNames": list(self.short), "categories": ["modelspec"]}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name, "annotations": KEEP},
            "spec": {"group": GROUP, "names": names_with_more, "scope": "Namespaced", "versions": [version]},
        }

    def to_yaml(self) -> str:
        """The file that the chart ships."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, width=140, allow_unicode=True)
        return f"# Generated from msm/api; do not edit. `make docs` writes it, `make lint` checks it.\n{text}"


DEFINITIONS = (
    Definition(MSMRun, MSMRunStatus, "msmruns", ("msm",), RUN_COLUMNS),
    Definition(EvalDeployment, EvalDeploymentStatus, "evaldeployments", ("evd",), DEPLOYMENT_COLUMNS),
)
