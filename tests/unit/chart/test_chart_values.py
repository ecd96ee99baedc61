"""Values of the chart: what is refused and with which words, and that defaults, schema and reference say the same."""

import json

import pytest
import yaml

from tests.unit.chart.helm import CHART, HELMS, ROOT, STORE, helm, refused

WRONG = {
    "a number in words": ("operator.replicas=two", "/operator/replicas", "integer"),
    "no replica": ("operator.replicas=0", "/operator/replicas", "minimum"),
    "a list as text": ("watchNamespaces=team", "/watchNamespaces", "array"),
    "a namespace in capitals": ("watchNamespaces={Team}", "/watchNamespaces/0", "pattern"),
    "a switch in words": ("networkPolicy.enabled=never", "/networkPolicy/enabled", "boolean"),
    "a digest that is none": ("images.trainer.digest=latest", "/images/trainer/digest", "pattern"),
    "a key that nobody reads": ("operator.replica=3", "/operator", "replica"),
    "a value of another chart": ("replicaCount=3", "", "replicaCount"),
    "a store that is no bucket": ("store.uri=file:///data", "/store/uri", "pattern"),
    "a password in an address": ("tracking.uri=http://me:secret@mlflow:5000", "/tracking/uri", "pattern"),
    "a word of another list": ("preflight.required={gpus}", "/preflight/required/0", "training"),
    "no Secret for the store": ("store.secretName=", "/store/secretName", "1"),
    "a quantity that is none": ("operator.cacheSize=much", "/operator/cacheSize", "pattern"),
    "a policy that is none": ("images.pullPolicy=Sometimes", "/images/pullPolicy", "IfNotPresent"),
}


@pytest.mark.parametrize("name", HELMS)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_refused_by_its_path(name: str, wrong: tuple[str, str, str]) -> None:
    setting, path, rule = wrong
    said = refused(name, *STORE, "--set", setting)
    assert path in said and rule in said


@pytest.mark.parametrize("name", HELMS)
def test_without_a_store_helm_says_what_to_set(name: str) -> None:
    said = refused(name)
    assert "store.uri: is empty" in said and "s3://bucket/prefix" in said and "watchNamespaces" in said


def test_a_monitor_without_a_service_is_refused() -> None:
    chosen = ("--set", "metrics.service=false", "--set", "metrics.serviceMonitor.enabled=true")
    assert "metrics.serviceMonitor.enabled: needs metrics.service" in refused("helm", *STORE, *chosen)


def test_the_chart_passes_lint() -> None:
    done = helm("helm", "lint", "--strict", str(CHART), *STORE)
    assert done.returncode == 0, done.stdout


def test_every_default_is_one_that_the_schema_knows() -> None:
    schema, values = json.loads((CHART / "values.schema.json").read_text()), yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) == {*values, "global"}
    assert not [key for key in schema["properties"] if key != "global" and key not in (ROOT / "docs/reference/chart.md").read_text()]


def test_the_chart_may_be_part_of_another() -> None:
    done = helm("helm", "template", "msm", str(CHART), *STORE, "--set", "global.registry=x")
    assert done.returncode == 0, done.stderr
