"""The issuer's cards: numbers (kept apart), references, and the habits of their holders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud.cards import CardTokenizer
from fraud.codes import MISSING
from streams.simulator.catalogue import AREAS, CATEGORIES, COUNTRIES
from streams.simulator.events import Floats, Integers, Mask, zipf_ranks
from streams.simulator.merchants import COUNTER, JAPAN, Merchants
from streams.simulator.parameters import DAY_MS, SimulationParameters

PAN_LENGTH = 16
FAVOURITES = 3  # usual shops of one holder in one category
WALLETS: tuple[str, ...] = ("wallet-hikari", "wallet-sora")

# Weight of Monday to Sunday for three kinds of holder: even, working week, weekend.
_WEEKDAYS = np.array(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [1.2, 1.2, 1.2, 1.2, 1.3, 0.6, 0.5],
        [0.7, 0.7, 0.7, 0.7, 0.9, 1.7, 1.6],
    ]
)


class CardNumbers:
    """Card numbers and expiry dates, for references and for the alert file only. Prints nothing of them."""

    __slots__ = ("_expiries", "_pans")

    def __init__(self, pans: list[str], expiries: list[str]) -> None:
        self._pans = pans
        self._expiries = expiries

    def __len__(self) -> int:
        return len(self._pans)

    def __repr__(self) -> str:
        return f"CardNumbers({len(self)} cards)"

    def of(self, cards: Integers) -> CardNumbers:
        """Only the given cards, in the order given."""
        return CardNumbers([self._pans[card] for card in cards], [self._expiries[card] for card in cards])

    def pairs(self) -> list[tuple[str, str]]:
        """(number, expiry `MM/YY`) of each card."""
        return list(zip(self._pans, self._expiries, strict=True))


@dataclass(frozen=True, slots=True)
class Portfolio:
    """n cards, one array a property, without their numbers."""

    card_ref: NDArray[Any]  # object columns of str
    account_ref: NDArray[Any]
    issuer_card_id: NDArray[Any]
    pan_last4: NDArray[Any]
    bin_prefix: str
    home: Integers  # index into AREAS
    level: Floats  # factor on all amounts
    rate: Floats  # factor on the number of transactions; mean 1
    online: Floats  # share of outings that are at a distance
    abroad_online: Floats  # share of those that are at a foreign shop
    weekdays: Floats  # (n, 7) weight of Monday to Sunday
    noon_peak: Floats  # hours of the day
    evening_peak: Floats
    online_peak: Floats
    taste: Floats  # (n, categories) weight of each category
    favourites: Integers  # (n, categories, FAVOURITES) merchants
    token_at: Integers  # when the wallet token was made, epoch milliseconds; MISSING without a wallet
    wallet: Integers  # index into WALLETS
    trip_country: Integers  # index into COUNTRIES; 0 for no journey abroad
    trip_first: Integers  # day of the simulation
    trip_last: Integers

    def __len__(self) -> int:
        return len(self.card_ref)

    @property
    def has_token(self) -> Mask:
        """The card has, or will have, a wallet token. Shape (n,)."""
        has_token: Mask = self.token_at != MISSING
        return has_token


def make_portfolio(
    parameters: SimulationParameters, merchants: Merchants, tokenizer: CardTokenizer, rng: np.random.Generator
) -> tuple[Portfolio, CardNumbers]:
    """The cards and their holders' habits, and the numbers apart from them."""
    n = parameters.cards
    pans = card_numbers(parameters.bin_prefix, n, rng)
    months = rng.integers(1, 13, size=n)
    years = rng.integers(23, 28, size=n)
    numbers = CardNumbers(pans, [f"{month:02d}/{year:02d}" for month, year in zip(months, years, strict=True)])
    home = rng.integers(len(AREAS), size=n)
    trip_first = rng.integers(parameters.days, size=n)
    made_before = parameters.starts_at - rng.integers(700 * DAY_MS, size=n)
    made_during = parameters.starts_at + rng.integers(parameters.days * DAY_MS, size=n)
    token_at = np.where(rng.random(n) < 0.85, made_before, made_during)
    serials = rng.permutation(n)
    portfolio = Portfolio(
        card_ref=np.array([tokenizer.reference(pan) for pan in pans], dtype=np.object_),
        account_ref=np.array([f"A{serial:08d}" for serial in serials], dtype=np.object_),
        issuer_card_id=np.array([f"C{serial:08d}" for serial in rng.permutation(n)], dtype=np.object_),
        pan_last4=np.array([pan[-4:] for pan in pans], dtype=np.object_),
        bin_prefix=parameters.bin_prefix,
        home=home,
        level=np.exp(0.4 * rng.standard_normal(n)),
        rate=rng.gamma(2.0, 0.5, size=n),
        online=rng.beta(1.6, 4.0, size=n),
        abroad_online=np.where(rng.random(n) < 0.3, rng.beta(2.0, 12.0, size=n), 0.01),
        weekdays=_WEEKDAYS[rng.choice(len(_WEEKDAYS), size=n, p=[0.4, 0.3, 0.3])],
        noon_peak=12.5 + rng.standard_normal(n),
        evening_peak=18.5 + 1.2 * rng.standard_normal(n),
        online_peak=21.0 + 1.8 * rng.standard_normal(n),
        taste=np.array([category.share for category in CATEGORIES]) * rng.gamma(0.8, size=(n, len(CATEGORIES))),
        favourites=_favourites(home, merchants, rng),
        token_at=np.where(rng.random(n) < 0.35, token_at, MISSING),
        wallet=rng.integers(len(WALLETS), size=n),
        trip_country=np.where(rng.random(n) < 0.05, rng.integers(1, len(COUNTRIES), size=n), 0),
        trip_first=trip_first,
        trip_last=trip_first + rng.integers(3, 11, size=n),
    )
    return portfolio, numbers


def card_numbers(prefix: str, n: int, rng: np.random.Generator) -> list[str]:
    """Make n distinct numbers of 16 digits with a valid check digit (Luhn, ISO/IEC 7812-1)."""
    free = PAN_LENGTH - len(prefix) - 1
    bodies = rng.choice(10**free, size=n, replace=False)
    digits = np.array([[int(digit) for digit in f"{prefix}{body:0{free}d}"] for body in bodies], dtype=np.int64)
    doubled = digits[:, ::-1].copy()
    doubled[:, ::2] *= 2  # the digit beside the check digit is doubled, then every second one
    check = -(doubled // 10 + doubled % 10).sum(axis=1) % 10
    return [f"{prefix}{body:0{free}d}{digit}" for body, digit in zip(bodies, check, strict=True)]


def _favourites(home: Integers, merchants: Merchants, rng: np.random.Generator) -> Integers:
    place = np.full((len(home), len(CATEGORIES)), JAPAN)
    place[:, COUNTER] = home[:, None]
    category = np.broadcast_to(np.arange(len(CATEGORIES)), place.shape)
    first = np.repeat(merchants.first[category, place][:, :, None], FAVOURITES, axis=2)
    size = np.repeat(merchants.size[category, place][:, :, None], FAVOURITES, axis=2)
    return first + zipf_ranks(rng, size.ravel()).reshape(size.shape)
