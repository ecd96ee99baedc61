import pytest

from msm.cluster.connection import Answer
from msm.cluster.refusals import error_of, submission_error
from msm.errors import MSMError, TryAgain, UserError
from tests.unit.cluster_client.scripted_cluster import PLACE, answer, refusal

FORBIDDEN = (
    'msmruns.modelspec.dev is forbidden: User "system:serviceaccount:team:nobody" cannot {} resource "msmruns" '
    'in API group "modelspec.dev" in the namespace "team"'
)
SENTENCES: dict[str, tuple[Answer, type[MSMError], str]] = {
    "who one is not is not known": (
        refusal(401, "Unauthorized", "Unauthorized"),
        UserError,
        "context lab: the cluster does not know who you are: credentials are missing or expired; log in again",
    ),
    "reading is for viewers": (
        refusal(403, "Forbidden", FORBIDDEN.replace("{}", "list")),
        UserError,
        "cluster lab: system:serviceaccount:team:nobody may not list msmruns in namespace team; "
        'ask its administrator for the role "view" in that namespace',
    ),
    "writing is for editors": (
        refusal(403, "Forbidden", FORBIDDEN.replace("{}", "patch")),
        UserError,
        "cluster lab: system:serviceaccount:team:nobody may not patch msmruns in namespace team; "
        'ask its administrator for the role "edit" in that namespace',
    ),
    "a policy's words are passed on": (
        refusal(403, "Forbidden", "exceeded quota: runs"),
        UserError,
        "cluster lab: refuses: exceeded quota: runs; ask its administrator",
    ),
    "a cluster without the platform": (
        Answer(404, b"404 page not found\n"),
        UserError,
        "cluster lab: has no MSMRun: the platform is not installed there; install the chart: "
        "`helm install msm charts/msm -n msm-system --create-namespace`, or name another cluster with --context",
    ),
    "a namespace that is not there": (
        refusal(404, "NotFound", 'namespaces "team" not found', kind="namespaces", name="team"),
        UserError,
        '--namespace: lab has no namespace "team"; name one that it has',
    ),
    "an object that is not there": (
        refusal(404, "NotFound", 'pods "p" not found', kind="pods", name="p"),
        UserError,
        'cluster lab: has no pods "p" in namespace team; check the name',
    ),
    "a change at the same moment": (
        refusal(409, "Conflict", "the UID in the precondition does not match"),
        TryAgain,
        "somebody changed it at the same moment (the UID in the precondition does not match)",
    ),
    "a field that the definition does not have": (
        refusal(400, "BadRequest", 'failed to create typed patch object: strict decoding error: unknown field "spec.trainig"'),
        UserError,
        "spec.trainig: unknown key for the cluster's version of MSMRun; remove it, or upgrade the chart",
    ),
    "the same, as server-side apply says it": (
        refusal(
            500,
            "",
            "failed to create typed patch object (team/cheese; modelspec.dev/v1alpha1, Kind=MSMRun): errors:\n"
            "  .spec.arms[0].vs: field not declared in schema\n  .spec.trainig: field not declared in schema",
        ),
        UserError,
        "spec.arms[0].vs: unknown key for the cluster's version of MSMRun; remove it, or upgrade the chart",
    ),
    "a value of another type": (
        refusal(
            500,
            "",
            "failed to create typed patch object (team/cheese; modelspec.dev/v1alpha1, Kind=MSMRun): "
            ".spec.execution.scratch: expected map, got &{x}",
        ),
        UserError,
        "spec.execution.scratch: the cluster refuses it: expected map, got &{x}; see docs/reference/msmrun.md",
    ),
    "a rule of the definition": (
        refusal(
            422,
            "Invalid",
            "MSMRun is invalid",
            ("spec.tracking.uri", 'Invalid value: "sqlite:///x": uri must be an http(s) address', "FieldValueInvalid"),
            ("spec.arms", "Too many: 65: must have at most 64 items", "FieldValueTooMany"),
        ),
        UserError,
        "spec.tracking.uri: uri must be an http(s) address (and 1 more)",
    ),
    "a rule with a place of its own": (
        refusal(422, "Invalid", "no", ("spec.seeds", "Invalid value: seeds must be few", "FieldValueInvalid")),
        UserError,
        "spec.seeds: seeds must be few",
    ),
    "a refusal without fields": (
        refusal(422, "Invalid", "no"),
        UserError,
        "run: the cluster refuses it: no; mend it",
    ),
    "too many requests": (refusal(429, "TooManyRequests", "slow down"), TryAgain, "the cluster lab cannot answer now (429 slow down)"),
    "a proxy's page": (
        Answer(502, b"<html>bad gateway"),
        TryAgain,
        "the cluster lab cannot answer now (502 <html>bad gateway)",
    ),
    "an answer that nobody knows": (
        answer(418, {"message": "short and stout"}),
        UserError,
        "cluster lab: refuses: short and stout (418); ask its administrator",
    ),
}


@pytest.mark.parametrize("case", SENTENCES.values(), ids=SENTENCES)
def test_every_refusal_is_one_sentence(case: tuple[Answer, type[MSMError], str]) -> None:
    told, kind, sentence = case
    error = error_of(told, PLACE)
    assert (type(error), str(error)) == (kind, sentence)


CHANGED = "cannot be changed; make a new MSMRun; artifacts that do not depend on the change are used again"
SUBMISSIONS: dict[str, tuple[Answer, str]] = {
    "another spec under the same name": (
        refusal(
            422,
            "Invalid",
            "MSMRun is invalid",
            ("spec.seeds", f'Invalid value: "array": seeds {CHANGED}', "FieldValueInvalid"),
            ("spec", f'Invalid value: "object": registry {CHANGED}', "FieldValueInvalid"),
        ),
        'metadata.name: there is a run "cheese" with another spec (seeds, registry), and a spec cannot be changed; '
        "give this one another name, or delete that one: `msm cancel cheese`; finished stages stay",
    ),
    "another spec that another program applied": (
        refusal(409, "Conflict", "Apply failed", (".spec.seeds", 'conflict with "kubectl" using v1', "FieldManagerConflict")),
        'metadata.name: there is a run "cheese" with another spec (seeds), and a spec cannot be changed; '
        "give this one another name, or delete that one: `msm cancel cheese`; finished stages stay",
    ),
    "a suspension that is not the file's": (
        refusal(409, "Conflict", "Apply failed", (".spec.suspend", 'conflict with "msm" using v1', "FieldManagerConflict")),
        'spec.suspend: was set by "msm" to another value than the file has; remove it from the file; '
        "`msm suspend cheese` and `msm resume cheese` change it",
    ),
    "anything else is said as always": (refusal(429, "TooManyRequests", "slow down"), "the cluster lab cannot answer now (429 slow down)"),
}


@pytest.mark.parametrize("case", SUBMISSIONS.values(), ids=SUBMISSIONS)
def test_a_refused_submission_says_what_to_do(case: tuple[Answer, str]) -> None:
    told, sentence = case
    assert str(submission_error(told, PLACE, "cheese")) == sentence
