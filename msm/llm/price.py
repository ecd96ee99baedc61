"""What tokens cost: exact whole numbers, so that sums of a million answers have no rounding.

Pure. Neighbours: `budget` and `account` add them up, `endpoint` reads them from the run. Invariant: money is counted in 10^-12 of the
currency, and what is not whole is rounded up. The currency is the user's: nothing here converts.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from msm.llm.ask import Request, Usage

PICO = 10**12
"""Units of money in one of the currency."""
OVERHEAD = 512
"""Tokens allowed for what a server's chat template adds around the turns, in `most_tokens`."""


@dataclass(frozen=True, slots=True)
class Price:
    """Money of one token of each kind, in 10^-12 of the currency: one per million tokens is 10^6."""

    input: int = 0
    cached_input: int = 0
    output: int = 0


def per_million(amount: float) -> int:
    """Units for one token where a million cost `amount`."""
    return int((Decimal(str(amount)) * PICO / 10**6).to_integral_value(ROUND_CEILING))


def units(amount: float) -> int:
    """Units of `amount` of the currency."""
    return int(Decimal(str(amount)) * PICO)


def spell(money: int) -> str:
    """Units as people read them: 12.34, or more digits for what is less than a hundredth."""
    amount = Decimal(money) / PICO
    return f"{amount:.2f}" if amount == 0 or abs(amount) >= Decimal("0.01") else f"{amount:.6f}"


def cost(price: Price, usage: Usage) -> int:
    """What an answer cost."""
    cached = min(usage.cached, usage.prompt)
    return price.input * (usage.prompt - cached) + price.cached_input * cached + price.output * usage.completion


def most_tokens(request: Request, more: int = 0) -> Usage:
    """A bound from above on an answer's tokens: no tokenizer in use makes more tokens than there are bytes; `more` bytes of later turns."""
    text = sum(len(part.encode("utf-8", "replace")) for part in (request.system, request.prefix, request.prompt))
    return Usage(prompt=text + more + OVERHEAD, completion=request.sampling.max_tokens)
