"""The manifests of this repository as objects, and inputs for those that name things outside."""

from pathlib import Path
from typing import Any

import yaml

from msm.api import MSMRun, load_run, parse_run
from msm.plan import Plan, Resolution, Resolved, plan_run
from msm.plan.planner import served
from msm.resolve.digests import text_identity

MANIFESTS = Path(__file__).parents[1] / "manifests"
OURS = ("MSMRun", "EvalDeployment")
FILES = {str(file.relative_to(MANIFESTS)): file for file in sorted(MANIFESTS.rglob("*.yaml"))}
ON_A_CLUSTER = ("demo", "msm-run", "philosophy", "eval-deployment", "kueue", "air-gapped")
"""Those that `kubectl apply -f` takes as they are."""

Object = dict[str, Any]


def objects(file: Path) -> list[Object]:
    """Everything in a manifest."""
    return [one for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one]


def ours(file: Path) -> list[Object]:
    """Our resources in a manifest."""
    return [one for one in objects(file) if one["kind"] in OURS]


def run_of(name: str) -> MSMRun:
    """The MSMRun in a manifest, texts of ConfigMaps in the same file in their places."""
    file = MANIFESTS / f"{name}.yaml"
    everything = objects(file)
    if len(everything) == 1:
        return load_run(file)
    texts = {one["metadata"]["name"]: one["data"] for one in everything if one["kind"] == "ConfigMap"}
    (run,) = (one for one in everything if one["kind"] == "MSMRun")
    return parse_run(told(run, texts), file.name)


def told(node: Any, texts: dict[str, dict[str, str]]) -> Any:
    """The same with the contents of ConfigMaps inline."""
    if isinstance(node, list):
        return [told(one, texts) for one in node]
    if not isinstance(node, dict):
        return node
    ref = node.get("configMapKeyRef")
    return {"inline": texts[ref["name"]][ref["key"]]} if ref is not None else {key: told(one, texts) for key, one in node.items()}


def inline_texts(node: Any) -> list[str]:
    """Every text inside an object, ConfigMaps' too."""
    if isinstance(node, list):
        return [text for one in node for text in inline_texts(one)]
    if not isinstance(node, dict):
        return []
    own = list(node["data"].values()) if node.get("kind") == "ConfigMap" else []
    own += [node["inline"]] if isinstance(node.get("inline"), str) else []
    return own + [text for one in node.values() for text in inline_texts(one)]


def planned(run: MSMRun) -> Plan:
    """Its plan, as a cluster makes it; what is outside has identities made up here."""
    spec = run.spec
    sources = {f"modelSpecs.{one.name}": one.source for one in spec.model_specs}
    sources |= {f"corpora.{one.name}": one.source for one in spec.corpora if one.source is not None}
    sources |= {f"demonstrations.{one.name}": one.source for one in spec.demonstrations if one.source is not None}
    sources |= {f"evals.{one.name}.items": one.items.source for one in spec.evals if one.items is not None}
    identities = {place: text_identity((one.inline or f"outside: {one.uri or one.path}").encode()) for place, one in sources.items()}
    identities |= {f"endpoints.{one.name}": f"hf:org/{one.name}@1" for one in spec.endpoints if one.serve is not None}
    identities |= {served(one.name): "cluster" for one in spec.evals if one.via == "endpoint"}
    inputs = {place: Resolved(identity=one, location=f"blob:{one}") for place, one in identities.items()}
    inputs["baseModel"] = Resolved(identity="hf:org/base@1", location=spec.base_model.uri)
    gpus = spec.training.midtrain.resources.gpus_per_node
    return plan_run(run, Resolution(inputs=inputs, precision="bfloat16" if gpus else "float32"))
