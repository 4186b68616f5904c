"""What the case page and the card page both show of a card: its exposures in words, its timeline, its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fraud.console.card_chart import Window, card_chart, close_up
from fraud.console.charts import Chart, Plot
from fraud.console.exposure_words import ExposureBanner, exposure_banner
from fraud.console.formatting import Format
from fraud.console.timeline import Entry, card_timeline
from fraud.store.views import CompromiseEventView, DetectionView, ExposureMatchView

# View boxes about as wide as the column that they stand in, so that their text has the size of the page's.
_WHOLE = Plot(width=860, height=190)
_LEFT = Plot(width=470, height=190)
_RIGHT = Plot(width=370, height=190)


@dataclass(frozen=True, slots=True)
class CardView:
    """A card's exposures and transactions, ready to draw."""

    exposures: tuple[ExposureBanner, ...]
    entries: list[Entry]
    whole: Chart | None
    near: Chart | None
    near_day: str
    windows: tuple[Window, ...]


def card_view(
    detections: Sequence[DetectionView],
    matches: Iterable[ExposureMatchView],
    events: Sequence[CompromiseEventView],
    format_: Format,
) -> CardView:
    """Put together what is known of one card; `events` are those that it is exposed in."""
    entries = card_timeline(detections, matches)
    windows = tuple((event.window_start_at, event.window_end_at, event.name) for event in events)
    detected = [format_.minute(entry.occurred_at)[:10] for entry in entries if entry.detection_id]
    near = close_up(entries, windows, format_, _RIGHT)
    return CardView(
        exposures=tuple(exposure_banner(event, format_) for event in events),
        entries=entries,
        whole=card_chart(entries, windows, format_, _LEFT if near else _WHOLE),
        near=near,
        near_day=detected[-1] if detected else "",
        windows=windows,
    )
