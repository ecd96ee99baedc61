"""A version of a registered model as artifacts in the store: what is served of it, and by which stages it is measured.

`locate` reads the store; blocking, for a thread. Neighbours: `aliases` says which version, `serving` renders the weights, `checks` the
stages. Invariant: a version is what its manifest says, never what MLflow's source field says: an artifact with another digest is not
served.
"""

from dataclasses import dataclass

from msm.errors import UserError
from msm.plan import StageRef
from msm.store import ObjectStore
from msm.store.artifacts import Manifest, read_manifest
from msm.tracking.sources import artifact_uri
from msm_operator.backends.weights import ADAPTER, Weights, rank


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained artifact and the base it needs; `weights` are served under the deployment's model name."""

    model: StageRef
    base: StageRef
    weights: Weights

    @property
    def artifact(self) -> str:
        """As an annotation carries it."""
        return f"{self.model.kind}/{self.model.fingerprint}"


def locate(store: ObjectStore, kind: str, fingerprint: str, content_digest: str, name: str) -> Trained:
    """Find a version's artifact and its base. `content_digest` may be empty where nobody says.

    Raises:
        UserError: it is not in this store, is another than was registered, or cannot be served; TryAgain: the store does not answer.
    """
    if not kind or not fingerprint:
        raise UserError("version", "was not registered by msm: it has no msm.fingerprint", "promote a version that `msm run` registered")
    manifest = _manifest(store, kind, fingerprint)
    if content_digest and manifest.content_digest != content_digest:
        raise UserError("version", f"{kind}/{fingerprint} has other contents in {store.uri} than were registered", "run `msm track sync`")
    bases = manifest.inputs.get("model", [])
    if len(bases) != 1:
        raise UserError("version", f"{kind}/{fingerprint} names no base model", "promote a midtrained or fine-tuned version")
    base = _manifest(store, bases[0].kind, bases[0].fingerprint)
    trained, below = StageRef(kind=kind, fingerprint=fingerprint), StageRef(kind=base.kind, fingerprint=base.fingerprint)
    return Trained(trained, below, _weights(store.uri, manifest, base, name))


def _manifest(store: ObjectStore, kind: str, fingerprint: str) -> Manifest:
    found = read_manifest(store, kind, fingerprint)
    if found is None:
        raise UserError("version", f"{kind}/{fingerprint} is not in {store.uri}", "name the store of its run in spec.storage")
    return found


def _weights(uri: str, manifest: Manifest, base: Manifest, name: str) -> Weights:
    if ADAPTER not in manifest.files:
        return Weights(artifact_uri(uri, manifest), name)
    return Weights(artifact_uri(uri, base), f"{name}-base", {name: artifact_uri(uri, manifest)}, rank(manifest))
