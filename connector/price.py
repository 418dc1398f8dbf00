"""A price: what a provider charges for tokens at batch price, from genai-prices or from the task's own `price`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from decimal import ROUND_UP, Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from connector.task import Task

# Amounts are kept to a millionth of a millionth of a dollar, rounded up, so that sums of rows are exact.
USD = Decimal(1).scaleb(-12)
_MILLION = Decimal(1_000_000)
# what writing a token to a cache costs against reading it, where it is charged (listed prices, November 2026)
_WRITTEN_TO_CACHE = Decimal("1.25")
# OpenAI's guide to data residency, November 2026: models released since March 2026; older ones are taken to be as dear
_REGIONAL_UPLIFT = Decimal("1.1")
_OPENAI = "api.openai.com"
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_NOTHING = (Decimal(0),) * 4


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The tokens of one request. Those cached and written to a cache are part of the input, reasoning of the output."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class Rate:
    """US dollars per million tokens, for requests of more than `above_tokens` input tokens."""

    above_tokens: int
    input: Decimal
    cached: Decimal
    cache_write: Decimal
    output: Decimal


@dataclass(frozen=True)
class Price:
    """What a model costs; `rates` by rising `above_tokens`, the first for any request. `source` says who says so."""

    rates: tuple[Rate, ...]
    source: str

    def cost(self, usage: Usage) -> Decimal:
        """Return what one request costs in US dollars, rounded up to `USD`."""
        rate = self.rates[0] if self.is_first_rate(usage.input_tokens) else self._rate(usage.input_tokens)
        cached = min(usage.cached_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        fresh = usage.input_tokens - cached - written
        charged = fresh * rate.input + cached * rate.cached + written * rate.cache_write
        return _round_up(charged + usage.output_tokens * rate.output)

    def bound(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return what one request can cost at most: nothing of it is cached yet, and all is written to a cache."""
        return _bound(self._rate(input_tokens), input_tokens, output_tokens)

    @property
    def rounding_usd(self) -> Decimal:
        """Return what rounding up can add to one request: nothing where all is free."""
        is_free = all((rate.input, rate.cached, rate.cache_write, rate.output) == _NOTHING for rate in self.rates)
        return Decimal(0) if is_free else USD

    def is_first_rate(self, input_tokens: int) -> bool:
        """Tell whether a request of so many input tokens has the first rate, as all but very long ones have."""
        return len(self.rates) == 1 or input_tokens <= self.rates[1].above_tokens

    def first_cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return what tokens of many requests of the first rate cost together, nothing of them cached."""
        return _round_up(input_tokens * self.rates[0].input + output_tokens * self.rates[0].output)

    def first_bound(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return what tokens of many requests of the first rate cost together at most."""
        return _bound(self.rates[0], input_tokens, output_tokens)

    def _rate(self, input_tokens: int) -> Rate:
        return next(rate for rate in reversed(self.rates) if rate.above_tokens == 0 or input_tokens > rate.above_tokens)

    def to_json(self) -> str:
        """Return the price for the ledger, so that an answer is charged at the price it was asked at."""
        rates = [{name: str(value) for name, value in asdict(rate).items()} for rate in self.rates]
        return json.dumps({"source": self.source, "rates": rates})


FREE = Price((Rate(0, *_NOTHING),), "local")
"""The price of the embedded model of `--local`."""


def read_price(text: str | None) -> Price | None:
    """Return a price of the ledger."""
    if text is None:
        return None
    found = json.loads(text)
    rates = tuple(
        Rate(int(rate.pop("above_tokens")), **{name: Decimal(value) for name, value in rate.items()})
        for rate in found["rates"]
    )
    return Price(rates, found["source"])


def batch_price(task: Task, base_url: str | None = None) -> Price | None:
    """Return what the task's model costs in batches today: by its `price`, else by genai-prices; None if unknown.

    `base_url` is who answers, OpenAI where it is None: others have other prices for models of the same name.
    """
    own = task.price
    if own is None:
        return _listed(task.model, {"processing": "batch"}, base_url)
    cached = own.input_usd_per_mtok if own.cached_input_usd_per_mtok is None else own.cached_input_usd_per_mtok
    written = own.cache_write_usd_per_mtok
    written = own.input_usd_per_mtok * _WRITTEN_TO_CACHE if written is None else written
    rate = Rate(0, own.input_usd_per_mtok, cached, written, own.output_usd_per_mtok)
    return Price((rate,), "the task's `price`")


def synchronous_price(task: Task, base_url: str | None = None) -> Price | None:
    """Return what the same requests cost one by one, where genai-prices knows the model."""
    return _listed(task.model, None, base_url)


def _listed(model: str, context: dict[str, str] | None, base_url: str | None) -> Price | None:
    tokens = PricedUsage(input_tokens=1, output_tokens=1)
    try:
        if is_openai(base_url):
            found = calc_price(tokens, model, provider_id="openai", price_context=context)
        else:
            found = calc_price(tokens, model, provider_api_url=base_url, price_context=context)
    except LookupError:
        return None
    listed = found.model_price
    if listed.input_mtok is None or listed.output_mtok is None:
        return None
    cached, written = (
        listed.input_mtok if price is None else price for price in (listed.cache_read_mtok, listed.cache_write_mtok)
    )
    parts = [listed.input_mtok, cached, written, listed.output_mtok]
    starts = sorted({0, *(tier.start for part in parts for tier in getattr(part, "tiers", ()))})
    region = _region(base_url)
    times = Decimal(1) if region is None else _REGIONAL_UPLIFT
    rates = tuple(Rate(start, *(times * _at(part, start) for part in parts)) for start in starts)
    source = f"genai-prices {found.model.id}"
    return Price(rates, source if region is None else f"{source}, 10% more for {region}")


def is_openai(base_url: str | None) -> bool:
    """Tell whether a base URL is OpenAI's, or of a server on this machine, which stands in for it."""
    host = _OPENAI if base_url is None else urlsplit(base_url).hostname or ""
    return host in _THIS_MACHINE or host == _OPENAI or _region(base_url) is not None


def _region(base_url: str | None) -> str | None:
    """Return the host where a base URL is that of one of OpenAI's regions, `eu.` or another in front."""
    host = urlsplit(base_url).hostname or "" if base_url else ""
    return host if host.endswith(f".{_OPENAI}") else None


def _at(part: Any, start: int) -> Decimal:
    """Return the price of a tier that begins at `start`; a price without tiers is a plain number."""
    if isinstance(part, Decimal):
        return part
    found: Decimal = next((tier.price for tier in reversed(part.tiers) if start and tier.start <= start), part.base)
    return found


def _bound(rate: Rate, input_tokens: int, output_tokens: int) -> Decimal:
    dearest = max(rate.input, rate.cached, rate.cache_write)
    return _round_up(input_tokens * dearest + output_tokens * rate.output)


def _round_up(millionths: Decimal) -> Decimal:
    return (millionths / _MILLION).quantize(USD, ROUND_UP)


def share(total: Decimal, parts: int) -> list[Decimal]:
    """Return the total in equal parts that sum to it exactly; the first ones carry what does not divide."""
    return [unit * USD for unit in share_units(int(total / USD), parts)]


def share_units(total: int, parts: int) -> list[int]:
    """Return a whole number in parts that differ by one at most and sum to it."""
    each, over = divmod(total, parts)
    return [each + (place < over) for place in range(parts)]
