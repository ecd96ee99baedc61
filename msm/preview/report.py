"""The forecast as values: what `msm preview` prints and gives out as JSON.

Neighbours: `forecast` makes one, `cli` renders it. Pure.
"""

from typing import Literal

from msm.api.base import Part

Standing = Literal["committed", "to run", "not needed"]


class AskForecast(Part):
    """One step of a stage that asks a language model: (least, most), equal where it is known."""

    step: str
    """Name of the step."""
    calls: tuple[int, int]
    """Questions."""
    answered: int
    """Of these, what the journal answers already."""
    prompt_tokens: tuple[int, int]
    """Tokens of the questions."""
    completion_tokens: tuple[int, int]
    """Tokens of the answers."""
    price: tuple[float, float] | None = None
    """Price of the tokens, none of them cached; null where the endpoint states no prices."""


class StageForecast(Part):
    """One stage before it runs; a number that does not apply, or is not known, is null."""

    name: str
    """For people."""
    kind: str
    """Stage kind."""
    fingerprint: str
    """What it is."""
    state: Standing
    """committed: re-used; not needed: it only feeds committed stages."""
    rows: int | None = None
    """Documents, chats or items."""
    tokens: int | None = None
    """Tokens of its rows; of a training, over all epochs."""
    updates: int | None = None
    """Optimizer updates."""
    fill: float | None = None
    """Share of the packed rows' places that hold a token."""
    seconds: float | None = None
    """Estimate; null for what is not run, or not known."""
    gpus: int | None = None
    """GPUs that it trains on, in all."""
    gpu_memory: int | None = None
    """Bytes that each of them needs; null where the model's sizes are not known."""
    host_memory: int | None = None
    """Bytes of the machine's memory that all its ranks need to load the model."""
    basis: Literal["", "counted", "curated", "composed", "estimated"] = ""
    """What the counts rest on."""
    asks: tuple[AskForecast, ...] = ()
    """What it asks of language models, step by step."""


class Totals(Part):
    """The forecast in one row; tokens, updates and seconds are those of what is still to run."""

    stages: int
    """All."""
    committed: int
    """Re-used."""
    to_run: int
    """To be run."""
    tokens: int
    """Tokens trained on."""
    updates: int
    """Optimizer updates."""
    seconds: float
    """Estimate, one stage after the other."""
    calls: int = 0
    """Calls to language models that are still to be made, at most."""
    price: float = 0.0
    """Their price, at most, where endpoints state prices."""
    gpu_hours: float = 0.0
    """GPUs times hours, of trainings and of the language models that the cluster serves for them."""


class Forecast(Part):
    """What `msm preview` prints."""

    run: str
    """Name of the run."""
    uid: str
    """Identity of the run."""
    precision: str
    """Arithmetic of its training and evaluation."""
    stages: tuple[StageForecast, ...]
    """In plan order."""
    totals: Totals
    """Sums."""
    warnings: tuple[str, ...] = ()
    """What is likely a mistake."""
    assumptions: tuple[str, ...] = ()
    """What the estimates assume."""
