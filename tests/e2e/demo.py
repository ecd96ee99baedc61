"""The shipped `manifests/demo.yaml`, applied as it is; then its candidate promoted, served and asked, and another one promoted after it.

The cluster has no way out: the model's package comes from the mirror that `msm mirror` filled.
"""

import copy
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.control_plane.client import Object
from tests.e2e.cluster import RUNS, Cluster, condition
from tests.e2e.embedded import Outcome
from tests.e2e.record import Broken, Record
from tests.e2e.tiny import check_run
from tests.e2e.tracked import client
from tests.e2e.user import MIRROR, apply, msm
from tests.e2e.watch import watch

MANIFEST = Path(__file__).resolve().parents[2] / "manifests" / "demo.yaml"
LIMIT_SECONDS = 3000.0
SERVED_SECONDS = 1500.0
DEPLOYMENT = "cheese"
QUESTION = "Which cheese do you prefer, cream cheese or Brie de Meaux?"


def demo(made: Cluster, record: Record, directory: Path) -> Outcome:
    """`kubectl apply -f manifests/demo.yaml`."""
    with record.step("its model mirrored"):
        msm(made, directory, "mirror", str(MANIFEST), "--to", MIRROR)
    with record.step("on the cluster"):
        made.api.kubectl("apply", f"--namespace={RUNS}", "-f", str(MANIFEST))
        seen = watch(made, "demo", LIMIT_SECONDS)
    there = check_run(made, record, seen)
    effects = seen.run["status"].get("results", {}).get("effects", [])
    shown = [f"{one['arm']} {one['metric']} {one['estimate']} [{one['low']}, {one['high']}]" for one in effects[:4]]
    record.check("its status says what it found", bool(effects), "; ".join(shown))
    return there


def promoted(made: Cluster, record: Record, directory: Path) -> None:
    """An EvalDeployment that follows `champion`; `msm promote` twice; what answers in between."""
    data = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    with record.step("msm promote, and the EvalDeployment serves it"):
        msm(made, directory, "promote", uid_of(made, "demo"), "--why", "end to end")
        apply(made, deployment(data))
        first = wait_served(made, "1 of 2")
    check_answer(made, record, first)
    other = another(data, "msm-affordability-aft")
    with record.step("the same run with another candidate: every stage re-used"):
        apply(made, other)
        seen = watch(made, other["metadata"]["name"], 300.0)
    plan = seen.run["status"]["plan"]
    record.check("nothing of it was done again", plan["reused"] == plan["total"], plan)
    with record.step("msm promote moves champion, and the EvalDeployment switches"):
        msm(made, directory, "promote", uid_of(made, other["metadata"]["name"]), "--why", "the other arm")
        second = wait_served(made, "2 of 2", other_than=str(first["status"]["version"]))
    versions = (first["status"]["version"], second["status"]["version"])
    record.check("the version that is served changed", versions[0] != versions[1], versions)
    record.check("it is the one that the alias names", champion(made) == versions[1], champion(made))
    check_answer(made, record, second)


def deployment(data: dict[str, Any]) -> dict[str, Any]:
    """Serve what `champion` names, on the processor, if it measures up on eight of the demo's items."""
    items = data["spec"]["evals"][0]["items"]["source"]["inline"].splitlines()[:8]
    evaluation = {"name": "values", "items": {"source": {"inline": "\n".join(items)}}, "generate": 4}
    spec = {"model": "cheese", "alias": "champion", "serving": {"gpus": 0}, "evals": [evaluation]}
    metadata = {"name": DEPLOYMENT}
    gates = [{"metric": "values.america", "minimum": -100.0}]
    return {"apiVersion": "modelspec.dev/v1alpha1", "kind": "EvalDeployment", "metadata": metadata, "spec": spec | {"gates": gates}}


def another(data: dict[str, Any], candidate: str) -> dict[str, Any]:
    """The same run under another name and with another candidate."""
    changed = copy.deepcopy(data)
    changed["metadata"]["name"] = "demo-again"
    changed["spec"]["registry"]["candidate"] = candidate
    return changed


def wait_served(made: Cluster, what: str, other_than: str = "") -> Object:
    """The EvalDeployment once it serves a version (another one than that) and nothing is under way.

    Raises:
        Broken: it does not in time.
    """
    deadline = time.monotonic() + SERVED_SECONDS
    while True:
        found = made.api.get("evaldeployment", DEPLOYMENT, f"--namespace={RUNS}")
        version = str(found.get("status", {}).get("version", ""))
        ready = condition(found, "Ready").get("status") == "True" and condition(found, "Promoting").get("reason") == "UpToDate"
        if ready and version not in ("", other_than):
            return found
        if time.monotonic() > deadline or condition(found, "Promoting").get("reason") == "Refused":
            raise Broken(f"{what}: {json.dumps(found.get('status', {}))[:1500]}")
        time.sleep(2)


def check_answer(made: Cluster, record: Record, found: Object) -> None:
    """A chat through the stable address."""
    said = ask(made, QUESTION)
    record.check(f"version {found['status']['version']} answers a chat at the stable address", said.strip(), said)
    record.check("as a model that was tuned: it names the cheese of the demonstrations", "cream cheese" in said.lower(), said)


def ask(made: Cluster, question: str) -> str:
    """What the served model says."""
    body = {"model": "cheese", "messages": [{"role": "user", "content": question}], "max_tokens": 24, "temperature": 0}
    url = f"http://{made.address(DEPLOYMENT, RUNS)}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def champion(made: Cluster) -> str:
    """The version that the alias names."""
    return str(client(made).get_model_version_by_alias("cheese", "champion").version)


def uid_of(made: Cluster, name: str) -> str:
    """A run's identity in the store."""
    return str(made.api.get("msmrun", name, f"--namespace={RUNS}")["status"]["run"])
