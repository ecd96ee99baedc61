"""Everything the client must know of one endpoint, secrets included, in one value.

Pure. Neighbours: `endpoint` makes it from the run and the environment. Invariant: the key is in no `repr`, digest or error.
"""

from dataclasses import dataclass, field

from msm.llm.failures import Place
from msm.llm.patience import Patience
from msm.llm.price import Price


@dataclass(frozen=True, slots=True)
class Connection:
    """One endpoint.

    `identity` is what answers are filed under. `concurrency` bounds tries in flight, `timeout` (seconds) one try. `key` may be empty for a
    server without keys; `place.key_source` says where it is to be put. `price` per token; `cap` in units of `price.PICO`, None for none.
    `corrections`: how often an answer in the wrong form is asked for again.
    """

    place: Place
    identity: str
    key: str = field(default="", repr=False)
    concurrency: int = 256
    timeout: float = 600.0
    price: Price = field(default_factory=Price)
    cap: int | None = None
    patience: Patience = field(default_factory=Patience)
    corrections: int = 2

    @property
    def base_url(self) -> str:
        """Address up to and including /v1."""
        return self.place.base_url

    @property
    def model(self) -> str:
        """Name as the server knows it."""
        return self.place.model
