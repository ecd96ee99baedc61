"""The hub's errors become ours; only commits are asked for."""

from types import SimpleNamespace

import pytest

from msm.errors import TryAgain, UserError
from msm.resolve.addresses import Hf
from msm.resolve.hub import HuggingFace

errors = pytest.importorskip("huggingface_hub.errors")


class Api:
    """Injects one fault into every call."""

    def __init__(self, error=None, sha="a" * 40):
        self.error, self.sha, self.asked = error, sha, []

    def repo_info(self, repo, **options):
        self.asked.append((repo, options))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(sha=self.sha)

    def snapshot_download(self, repo, **options):
        self.asked.append((repo, options))
        return "/cache/snapshot"


def made(kind):
    """The hub's HTTP errors want a response; only their type matters here."""
    return kind.__new__(kind)


FAULTS = {
    "a repository that is not there": (made(errors.RepositoryNotFoundError), UserError),
    "a revision that is not there": (made(errors.RevisionNotFoundError), UserError),
    "a gated repository": (made(errors.GatedRepoError), UserError),
    "offline mode": (errors.OfflineModeIsEnabled("offline"), TryAgain),
    "no network": (ConnectionError("refused"), TryAgain),
    "a bad name": (errors.HFValidationError("bad"), UserError),
}


@pytest.mark.parametrize(("fault", "kind"), FAULTS.values(), ids=FAULTS)
def test_the_hubs_errors_become_ours(fault, kind):
    with pytest.raises(kind) as caught:
        HuggingFace(lambda: Api(fault)).commit(Hf("org/name", "main"), "spec.baseModel.uri")
    assert "spec.baseModel.uri" in str(caught.value)


def test_a_defect_is_not_dressed_up_as_the_users_mistake():
    with pytest.raises(ZeroDivisionError):
        HuggingFace(lambda: Api(ZeroDivisionError())).commit(Hf("org/name"), "f")


def test_a_commit_is_what_the_hub_says():
    api = Api()
    assert HuggingFace(lambda: api).commit(Hf("org/name", "main"), "f") == "a" * 40
    assert api.asked == [("org/name", {"revision": "main", "repo_type": "model"})]


def test_a_snapshot_takes_only_the_patterns(tmp_path):
    api = Api()
    HuggingFace(lambda: api).snapshot(Hf("org/name", "c"), "f", tmp_path, ("*.json",))
    assert api.asked[0][1]["allow_patterns"] == ["*.json"]
    assert api.asked[0][1]["revision"] == "c"
