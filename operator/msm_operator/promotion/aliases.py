"""What MLflow's aliases name, asked in a bounded pool of threads.

Neighbours: the controller asks at every pass, `msm.tracking.promotion` reads. Invariants: an answer is used for some seconds, so that
events in the cluster cost MLflow nothing; a server that does not answer is not asked again for a growing pause by anybody, so it holds at
most the pool's threads; what it does wrong is an error value, never an exception. Cost: MLflow is imported at the first question (5 s of
CPU, 150 MB).
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from msm.clock import Clock
from msm.errors import MSMError, TryAgain, UserError
from msm.tracking.client import mlflow_errors, one_line, open_client
from msm.tracking.config import TrackingConfig
from msm.tracking.promotion import AliasVersion, read_alias

FRESH_SECONDS = 20.0
"""How long an answer is used; less than the controller's pause between two looks."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
THREADS = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What an alias names (None: there is no such alias), or why nobody knows."""

    version: AliasVersion | None = None
    error: MSMError | None = None


Read = Callable[[TrackingConfig, str, str], AliasVersion | None]
"""Asks one MLflow for a model's alias, blocking."""


@dataclass(slots=True)
class _Silence:
    """A server that did not answer: how often in a row, until when it is left alone, and what it said."""

    failures: int
    until: float
    error: MSMError


@dataclass(slots=True)
class AliasReader:
    """The pool, the answers of the last seconds, and the servers that are silent."""

    clock: Clock
    read: Read | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "aliases"))
    fresh: float = FRESH_SECONDS
    _answers: dict[tuple[str, str, str], tuple[float, AliasVersion | None]] = field(default_factory=dict)
    _silent: dict[str, _Silence] = field(default_factory=dict)
    _clients: dict[str, object] = field(default_factory=dict)

    async def ask(self, config: TrackingConfig, model: str, alias: str) -> Answer:
        """What the alias names, as of some seconds ago at most."""
        now, key = self.clock.monotonic(), (config.uri, model, alias)
        known = self._answers.get(key)
        if known is not None and now - known[0] < self.fresh:
            return Answer(known[1])
        silence = self._silent.get(config.uri)
        if silence is not None and now < silence.until:
            return Answer(error=silence.error)
        answer = await asyncio.get_running_loop().run_in_executor(self.pool, self._ask, config, model, alias)
        self._note(config.uri, key, answer)
        return answer

    def close(self) -> None:
        """Take no more questions."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, config: TrackingConfig, model: str, alias: str) -> Answer:
        try:
            return Answer((self.read or self._read)(config, model, alias))
        except (TryAgain, UserError) as error:
            return Answer(error=error)
        except Exception as broken:  # MLflow and what it stands on raise anything; the status says it
            return Answer(error=MSMError(one_line(broken)))

    def _read(self, config: TrackingConfig, model: str, alias: str) -> AliasVersion | None:
        with mlflow_errors(config):
            client = self._clients.get(config.uri) or self._clients.setdefault(config.uri, open_client(config, self.environ))
            return read_alias(client, model, alias)

    def _note(self, uri: str, key: tuple[str, str, str], answer: Answer) -> None:
        now = self.clock.monotonic()
        if answer.error is None:
            self._answers[key] = (now, answer.version)
            self._silent.pop(uri, None)
            return
        self._answers.pop(key, None)
        failures = self._silent[uri].failures + 1 if uri in self._silent else 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
        self._silent[uri] = _Silence(failures, now + pause, answer.error)
