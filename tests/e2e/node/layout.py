"""Where a node's files are and which addresses it has. Pure; every other module here reads it."""

from dataclasses import dataclass
from pathlib import Path

API_PORT = 6443
DOMAIN = "cluster.local"
PAUSE_IMAGE = "modelspec.dev/pause:1"


@dataclass(frozen=True, slots=True)
class Layout:
    """One node. `images` is containerd's own store: it outlives the node, so that an image is unpacked once a machine."""

    directory: Path
    images: Path
    name: str = "msm-node"
    subnet: str = "172.30.0"
    """First three numbers of the link between the test process and the node."""
    pods: str = "10.244.0.0/24"
    services: str = "10.96.0.0/16"
    first_service: str = "10.96.0.1"
    """What the API server gives its own Service."""

    @property
    def outside(self) -> str:
        """The test process, as the node and its pods see it."""
        return f"{self.subnet}.1"

    @property
    def address(self) -> str:
        """The node."""
        return f"{self.subnet}.10"

    @property
    def server(self) -> str:
        """The API server."""
        return f"https://{self.address}:{API_PORT}"

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.directory / "run" / "containerd.sock"

    @property
    def logs(self) -> Path:
        """One file a component."""
        return self.directory / "logs"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.directory / "pki"

    def kubeconfig(self, who: str) -> Path:
        """The kubeconfig of one component, or of `admin`."""
        return self.directory / f"{who}.kubeconfig"
