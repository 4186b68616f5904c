"""Writes `docs/features.md` from the feature table: `python -m models.feature_docs`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Final

from models.card_state import CARD_STATE, COUNTRIES, DAY_BUCKETS, MERCHANTS, RING_SIZE
from models.feature_table import DAY_MS, FEATURES, HABIT_MS, HALF_LIFE_MS, HOUR_MS, Feature
from models.features import SMALL_AMOUNT_MINOR

FILE: Final = Path("docs") / "features.md"

_HEAD: Final = f"""\
# Features

<!-- Written by `python -m models.feature_docs` from `models/feature_table.py`. Change that file, not this one. -->

There are {len(FEATURES)} features, the same in training and in the stream: both run `models.features.compute_features`
over the transactions in log order. Each is a 32-bit number, and NaN where it cannot be evaluated.

## Rules

- **Before this event.** Windows and habits never include the transaction that is being scored.
- **Hours are exact.** A window of 1 or 24 hours at time t holds the events with t - window < time <= t, of the card's
  last {RING_SIZE} events. When all of those are younger than 24 hours, `window_saturated` is 1 and counts are lower
  bounds.
- **Days are the portfolio's local days.** 7 and 30 days are this event's local day, as far as it has gone, and the 6
  or 29 days before it. A card keeps the {DAY_BUCKETS} days up to its newest one.
- **Habits are learnt from purchases**: events that have an amount by their type and were not declined. So testing a
  stolen number makes nothing familiar. Habits are the card's {MERCHANTS} most recently used merchants, its {COUNTRIES}
  most recently used countries, its MCC groups, and decayed averages of amounts, hours and channels with a half-life of
  {HALF_LIFE_MS // DAY_MS} days.
- **What counts.** Authorizations, advices, financial messages, clearings that name no authorization, account
  verifications and token provisionings are events. Reversals, refunds, authentications and account changes get features
  and change nothing.
- **Late events.** An event older than one already seen is taken in log order. Its windows are taken at its own time, so
  it does not see what happened after it. It then counts as the newest of the recent events, on its own day if that day
  is still kept, and is learnt without decay.
- **Not evaluable without history.** While a deployment's history does not reach back as far as a feature looks, the
  feature is NaN for every card (column *history*): a count over 30 days says nothing on the fifth day, and every
  merchant is new to a card of which nothing is known. Habits and novelty need {HABIT_MS // DAY_MS} days. Import your
  own files (`mimamori archive import`) and nothing has to be waited for. A card that is new to a deployment with
  history is new, and its features are evaluable.
- **Small** is an account verification, or an amount up to {SMALL_AMOUNT_MINOR} minor units (a setting of the model).

State is strictly per card: one record of {CARD_STATE.itemsize:,} bytes. Nothing depends on how the log is cut into
batches or partitions.
"""


def render() -> str:
    """The page."""
    parts = [_HEAD]
    for family, features in groupby(FEATURES, key=lambda feature: feature.family):
        parts.append(
            f"\n## {family.capitalize()}\n\n"
            "| feature | meaning | unit | window | history | NaN when |\n|---|---|---|---|---|---|\n"
        )
        parts += [_row(feature) for feature in features]
    return "".join(parts)


def _row(feature: Feature) -> str:
    cells = (feature.meaning, feature.unit, feature.window, _history(feature.reach_ms), feature.missing)
    return f"| `{feature.name}` | {' | '.join(cells)} |\n"


def _history(reach_ms: int) -> str:
    if reach_ms == 0:
        return "none"
    return f"{reach_ms // HOUR_MS} h" if reach_ms < DAY_MS else f"{reach_ms // DAY_MS} d"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(render(), encoding="utf-8")
