"""Merchants: who sells what, where, and how each of them takes cards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.simulator.catalogue import (
    AREAS,
    AT_A_DISTANCE,
    AT_COUNTER,
    CATEGORIES,
    COUNTRIES,
    FOREIGN_STEMS,
    RECURRING,
    SHOP_MCC,
    SHOP_NAME,
    STEMS,
)
from streams.simulator.events import Floats, Integers, Mask

# Places: one a home area, then Japan as a whole for sales at a distance, then the other countries.
JAPAN = len(AREAS)
PLACES = JAPAN + len(COUNTRIES)
ACQUIRERS = 8

COUNTER = np.arange(len(AT_COUNTER))
DISTANCE = np.arange(len(AT_COUNTER), len(AT_COUNTER) + len(AT_A_DISTANCE))
RECURRENT = np.arange(len(CATEGORIES) - len(RECURRING), len(CATEGORIES))

# What a merchant does with 3-D Secure. In 2022 it was not yet asked of every Japanese shop.
NO_3DS, ATTEMPTS_3DS, AUTHENTICATES = range(3)
_POLICY_SHARES = (0.45, 0.10, 0.45)


@dataclass(frozen=True, slots=True)
class Merchants:
    """m merchants, one array a property; merchants of one category in one place lie side by side, busiest first."""

    category: Integers
    country: Integers  # index into COUNTRIES
    price_level: Floats  # factor on the category's amounts
    three_ds_policy: Integers
    asks_cvv2: Mask
    stores_cards: Mask
    posts_without_authorization: Mask  # its monthly charges come as a clearing alone
    acquirer_id: NDArray[Any]  # object columns of str
    merchant_id: NDArray[Any]
    terminal_id: NDArray[Any]
    name: NDArray[Any]
    first: Integers  # (categories, places): first merchant of the block
    size: Integers  # (categories, places): merchants in the block
    shop: int  # the merchant whose payment page was tampered with

    def __len__(self) -> int:
        return len(self.category)


def make_merchants(rng: np.random.Generator) -> Merchants:
    """All merchants, and the one shop at the end, in no block: only the story sends cards there."""
    size = np.zeros((len(CATEGORIES), PLACES), dtype=np.int64)
    shops = np.array([sells.shops for sells in CATEGORIES])
    size[COUNTER, :JAPAN] = shops[COUNTER, None]
    size[DISTANCE, JAPAN] = shops[DISTANCE]
    size[RECURRENT, JAPAN] = shops[RECURRENT]
    size[: RECURRENT[0], JAPAN + 1 :] = np.maximum(shops[: RECURRENT[0], None] // 3, 1)
    first = np.concatenate([[0], np.cumsum(size.ravel())[:-1]]).reshape(size.shape)
    blocks = np.repeat(np.arange(size.size), size.ravel())
    shop_category = next(int(i) for i in DISTANCE if CATEGORIES[i].mcc == SHOP_MCC)
    category = np.append(blocks // PLACES, shop_category)
    place = np.append(blocks % PLACES, JAPAN)
    n = len(category)
    policy = rng.choice(len(_POLICY_SHARES), size=n, p=_POLICY_SHARES)
    asks_cvv2 = rng.random(n) < 0.8
    stores_cards = rng.random(n) < 0.5
    policy[-1], asks_cvv2[-1], stores_cards[-1] = NO_3DS, True, False
    acquirer = rng.integers(ACQUIRERS, size=n)
    return Merchants(
        category=category,
        country=np.maximum(place - JAPAN, 0),
        price_level=np.exp(0.3 * rng.standard_normal(n)),
        three_ds_policy=policy,
        asks_cvv2=asks_cvv2,
        stores_cards=stores_cards,
        posts_without_authorization=np.array([CATEGORIES[c].posts_without_authorization for c in category])
        & (rng.random(n) < 0.7),
        acquirer_id=_texts(f"4901{number:02d}" for number in acquirer),
        merchant_id=_texts(f"M{number:07d}" for number in rng.permutation(n)),
        terminal_id=_texts(f"T{number:07d}" for number in rng.permutation(n)),
        name=_texts(_names(rng, category[:-1], place[:-1])),
        first=first,
        size=size,
        shop=n - 1,
    )


def _texts(values: Any) -> NDArray[Any]:
    return np.array(list(values), dtype=np.object_)


def _names(rng: np.random.Generator, category: Integers, place: Integers) -> list[str]:
    stem = rng.integers(len(STEMS) * len(FOREIGN_STEMS), size=len(category))
    japanese = rng.random(len(category)) < 0.25
    names = []
    for c, p, s, in_japanese in zip(category.tolist(), place.tolist(), stem.tolist(), japanese.tolist(), strict=True):
        latin_noun, japanese_noun = CATEGORIES[c].noun
        latin_stem, japanese_stem = STEMS[s % len(STEMS)]
        if p > JAPAN:
            names.append(f"{FOREIGN_STEMS[s % len(FOREIGN_STEMS)]} {latin_noun}")
        elif in_japanese:
            names.append(japanese_stem + japanese_noun)
        else:
            names.append(f"{latin_stem} {latin_noun}{f' {AREAS[p]}' if p < JAPAN else ''}")
    names.append(SHOP_NAME)
    return names
