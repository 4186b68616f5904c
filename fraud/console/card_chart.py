"""The picture of one card: amount by time, channel by shape, detections ringed, exposure windows shaded."""

from __future__ import annotations

from collections.abc import Sequence

from fraud.console.charts import AmountScale, Band, Chart, Mark, Plot, TimeScale, time_ticks
from fraud.console.formatting import HOUR_MS, NOTHING, Format
from fraud.console.timeline import Entry

SHAPES = {"ecommerce": "circle", "card_present": "square", "moto": "triangle", "atm": "diamond"}
OTHER_SHAPE = "cross"
# Card testing and what follows happen within minutes or hours: too narrow to see on an axis of months.
_BURST_MS = 48 * HOUR_MS
_SHORTEST_MARGIN_MS = HOUR_MS
_WORTH_IT = 8  # how many times longer the whole must be than the close-up

Window = tuple[int, int, str]  # start, end (exclusive), name of the compromise event


def card_chart(entries: Sequence[Entry], windows: Sequence[Window], format_: Format, plot: Plot) -> Chart | None:
    """The card's whole known time, exposure windows included; None where nothing is known."""
    if not entries:
        return None
    starts = [entries[0].occurred_at, *(start for start, _, _ in windows)]
    ends = [entries[-1].occurred_at, *(end for _, end, _ in windows)]
    margin = max(HOUR_MS, (max(ends) - min(starts)) // 50)
    return _chart(entries, windows, format_, plot, min(starts) - margin, max(ends) + margin)


def close_up(entries: Sequence[Entry], windows: Sequence[Window], format_: Format, plot: Plot) -> Chart | None:
    """The last detections, close together; None where that would show one thing only, or little less than the whole."""
    detected = [entry.occurred_at for entry in entries if entry.detection_id]
    if not detected:
        return None
    first = next(at for at in detected if at > detected[-1] - _BURST_MS)
    margin = max(_SHORTEST_MARGIN_MS, (detected[-1] - first) // 2)
    start, end = first - margin, detected[-1] + margin
    near = [entry for entry in entries if start <= entry.occurred_at <= end]
    if len(near) < 2 or entries[-1].occurred_at - entries[0].occurred_at < _WORTH_IT * (end - start):
        return None
    return _chart(near, windows, format_, plot, start, end)


def _chart(
    entries: Sequence[Entry], windows: Sequence[Window], format_: Format, plot: Plot, start: int, end: int
) -> Chart:
    x = TimeScale(start, end, plot.left, plot.right)
    y = AmountScale(max((entry.amount_minor or 0 for entry in entries), default=0), plot.bottom, plot.top)
    currency = next((entry.currency for entry in entries if entry.currency), None)
    return Chart(
        plot,
        x_ticks=time_ticks(x, format_.zone, most=int((plot.right - plot.left) // 64)),
        y_ticks=y.ticks(lambda amount: format_.money(amount, currency)),
        bands=tuple(
            Band(x(opens), round(max(2.0, x(closes) - x(opens)), 1), name)
            for opens, closes, name in windows
            if closes > start and opens < end
        ),
        marks=tuple(
            Mark(
                x(entry.occurred_at),
                y(entry.amount_minor),
                SHAPES.get(entry.channel or "", OTHER_SHAPE),
                _title(entry, format_),
                hollow=entry.approved is False,
                ringed=entry.detection_id is not None,
            )
            for entry in entries
        ),
    )


def _title(entry: Entry, format_: Format) -> str:
    t = format_.t
    parts = [
        format_.minute(entry.occurred_at),
        format_.money(entry.amount_minor, entry.currency),
        entry.merchant_name or "",
        t.named("channel", entry.channel),
        {True: t("approved.yes"), False: t("approved.no"), None: ""}[entry.approved],
        t("timeline.detection") if entry.detection_id else "",
    ]
    return " · ".join(part for part in parts if part and part != NOTHING)
