"""How numbers, times and cards look: the same everywhere, in the portfolio's zone, with UTC on hover."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from html import escape
from typing import Literal
from zoneinfo import ZoneInfo

from fraud.cards import display
from fraud.codes import format_amount
from fraud.console.language import Translator

NOTHING = "\u2013"  # an en dash, shown where nothing is known: an empty cell could also be a fault of the page
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
SOON_MS = 4 * HOUR_MS  # a case due within half a shift is worth a mark

DueTone = Literal["late", "soon", "calm"]


@dataclass(frozen=True, slots=True)
class Due:
    """When a case is due, in words, and how much it presses."""

    tone: DueTone
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in words, with the time itself for machines and UTC on hover. Templates show it as a `time` element."""

    text: str
    iso: str
    title: str

    def __html__(self) -> str:
        """The element."""
        return f'<time datetime="{escape(self.iso)}" title="{escape(self.title)}">{escape(self.text)}</time>'


@dataclass(frozen=True, slots=True)
class Format:
    """Formats for one request: its language, the portfolio's zone and the time that it is now (epoch milliseconds)."""

    t: Translator
    zone: ZoneInfo
    now: int

    def local(self, at: int) -> datetime:
        """Epoch milliseconds as an aware time in the portfolio's zone."""
        return datetime.fromtimestamp(at / 1000, self.zone)

    def minute(self, at: int | None) -> str:
        """`2022-08-12 14:03` in the portfolio's zone."""
        return NOTHING if at is None else f"{self.local(at):%Y-%m-%d %H:%M}"

    def time(self, at: int | None) -> Moment | str:
        """The minute as a `time` element, with UTC on hover."""
        return self._time(at, self.minute(at))

    def second(self, at: int | None) -> Moment | str:
        """As `time`, to the second: the order within a burst matters."""
        return self._time(at, NOTHING if at is None else f"{self.local(at):%Y-%m-%d %H:%M:%S}")

    def short(self, at: int | None) -> Moment | str:
        """As `second`, without the year."""
        return self._time(at, NOTHING if at is None else f"{self.local(at):%m-%d %H:%M:%S}")

    def age(self, at: int) -> Moment | str:
        """How long ago, with the time itself and UTC on hover."""
        return self._time(at, self.span(self.now - at), f"{self.minute(at)} {self.zone_name} · ")

    def _time(self, at: int | None, text: str, before: str = "") -> Moment | str:
        if at is None:
            return NOTHING
        utc = datetime.fromtimestamp(at / 1000, UTC)
        return Moment(text, utc.isoformat(timespec="seconds"), f"{before}{utc:%Y-%m-%d %H:%M:%S} UTC")

    @property
    def zone_name(self) -> str:
        """The zone's short name now, such as JST."""
        return self.local(self.now).tzname() or self.zone.key

    def span(self, milliseconds: int) -> str:
        """A length of time as finely as it matters: `12 min`, `3 h 05 min`, later only `20 h` or `3 d`."""
        milliseconds = max(0, milliseconds)
        minutes, hours, days = (milliseconds // unit for unit in (MINUTE_MS, HOUR_MS, DAY_MS))
        if days >= 2:
            return self.t("span.days", days=days)
        if milliseconds >= SOON_MS:
            return self.t("span.hours", hours=hours)
        if hours:
            return self.t("span.hours_minutes", hours=hours, minutes=minutes % 60)
        return self.t("span.minutes", minutes=minutes)

    def due(self, at: int) -> Due:
        """When a case is due."""
        left = at - self.now
        if left < 0:
            return Due("late", self.t("due.late", span=self.span(-left)))
        return Due("soon" if left < SOON_MS else "calm", self.t("due.in", span=self.span(left)))

    def money(self, amount_minor: int | None, currency: str | None) -> str:
        """An amount with its unit; yen have no decimals."""
        return NOTHING if amount_minor is None else format_amount(amount_minor, currency or "JPY")

    def number(self, value: int | None) -> str:
        """A whole number with separators."""
        return NOTHING if value is None else f"{value:,}"

    def score(self, value: float | None) -> str:
        """A score between 0 and 1, two decimals."""
        return NOTHING if value is None else f"{value:.2f}"

    def day_in_words(self, day: date) -> str:
        """A date as a sentence has it: `28 July 2022`, or its Japanese form."""
        month = self.t(f"month.{day.month}")
        return self.t("date.long", year=day.year, month=month, day=day.day)


def masked_card(pan_last4: str | None) -> str:
    """A card as the console always shows it: fewer digits than might be shown."""
    return display(None, pan_last4)


def short_reference(card_ref: str) -> str:
    """Enough of a card reference to tell two apart; the whole is in the page's address."""
    return card_ref if len(card_ref) <= 16 else f"{card_ref[:12]}…"
