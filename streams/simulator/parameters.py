"""What can be set on the simulator: sizes, the story's dates, and every figure with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

ZONE = ZoneInfo("Asia/Tokyo")  # no daylight saving: every day has 24 hours


def midnight_ms(day: date) -> int:
    """The start of a day in Japan, epoch milliseconds UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp()) * 1000


@dataclass(frozen=True, slots=True)
class StoryDates:
    """The dates of the notice that the story follows, as days in Japan.

    A payment page was tampered with through a supplier's script. Two forensic reports followed, the supplier's and the
    shop's own, and the publication came 166 days after the shop was told.
    """

    window_first: date = date(2022, 7, 19)
    window_last: date = date(2022, 7, 26)  # inclusive
    told: date = date(2022, 7, 28)  # the supplier tells the shop; monitoring starts here, on suspicion
    reported: date = date(2022, 8, 1)  # to the Personal Information Protection Commission
    payments_stopped: date = date(2022, 8, 3)
    supplier_report: date = date(2022, 10, 17)
    shop_report: date = date(2022, 12, 8)
    police_told: date = date(2022, 12, 9)
    published: date = date(2023, 1, 10)


@dataclass(frozen=True, slots=True)
class SimulationParameters:
    """One simulated portfolio and story. The same parameters give the same bytes.

    Where a source is named "breach figures", the ranges are those usually given for card breaches: 3 to 10 % of the
    exposed cards abused for magnetic stripe and up to 30 % for fresh card-not-present records; a third of the first
    frauds within 5 days, otherwise log-normal with a median of 2 to 3 weeks and a tail to 6 months; 1 to 3 tests of
    0 to 2 units at one or two merchants, minutes to days before. The other shares are our assumptions; none of
    them is measured on a real portfolio.

    Size:
    `cards`; `transactions_per_card_day`, the mean over the portfolio, corrections excluded; `history_days` up to and
    including the day before `dates.told`; `story_days` from that day on.

    The shop:
    `exposed_records` is the notice's 2,259 records of card information; `issuer_share` is the share of them that are
    this issuer's cards. 1.0 is unrealistic for one issuer and is chosen so that the demonstration has the notice's
    number. `typed_only_share` of the exposed cards were typed into the page without completing an order, so they have
    no authorization there.

    Abuse of exposed cards (breach figures):
    `abuse_share`; `early_share` start within `early_days`; the others after a log-normal delay with `delay_median_days`
    and `delay_sigma` (1.2 puts 2.5 % beyond six months). `testing_share` of the sprees begin with tests.

    Sprees, of exposed cards and others:
    `purchases_low` to `purchases_high` attempts with log-normal amounts; `spree_gap_hours` is the median time between
    two of them. `ordinary_share` of the attempts have an ordinary amount at an ordinary shop, `fraud_decline_share`
    are declined by the issuer, `fraud_foreign_share` are at shops abroad.

    Background fraud, on cards outside the event, before and after it:
    `background_value_share` of the genuine value. 0.02 to 0.05 % is usual (Japan, 2023: 0.051 %). The default is
    six times the upper figure: 60 days of 6,000 cards at the usual rate hold some ten defrauded cards, which is too
    few to learn from. `card_not_present_share` of that value: 93 % in Japan (2023), 82 % in the EU, 70 % in
    the UK.

    Labels:
    a fraud becomes known a log-normal time after the spree's first purchase, `label_delay_median_days`, and no event
    later than `label_delay_limit_days` after it happened.
    """

    seed: int = 1
    cards: int = 6_000
    transactions_per_card_day: float = 0.9
    history_days: int = 60
    story_days: int = 60
    dates: StoryDates = StoryDates()
    bin_prefix: str = "453201"

    exposed_records: int = 2_259
    issuer_share: float = 1.0
    typed_only_share: float = 0.03

    abuse_share: float = 0.08
    early_share: float = 1 / 3
    early_days: float = 5.0
    delay_median_days: float = 17.0
    delay_sigma: float = 1.2
    testing_share: float = 0.85

    purchases_low: int = 2
    purchases_high: int = 6
    spree_gap_hours: float = 5.0
    fraud_amount_median: float = 30_000.0
    fraud_amount_sigma: float = 0.8
    ordinary_share: float = 0.2
    fraud_decline_share: float = 0.2
    fraud_foreign_share: float = 0.2

    background_value_share: float = 0.003
    card_not_present_share: float = 0.93

    label_delay_median_days: float = 5.0
    label_delay_sigma: float = 0.8
    label_delay_limit_days: float = 45.0

    def __post_init__(self) -> None:
        if self.exposed_cards > self.cards:
            message = "exposed_records x issuer_share must not exceed cards"
            raise ValueError(message)
        if self.history_first_day > self.dates.window_first:
            message = "history_days must reach back to the start of the exposure window"
            raise ValueError(message)
        if self.story_days < 1:
            message = "story_days must be at least 1"
            raise ValueError(message)

    @property
    def exposed_cards(self) -> int:
        """How many of the portfolio's cards are exposed."""
        return round(self.exposed_records * self.issuer_share)

    @property
    def days(self) -> int:
        """Days of history and story together."""
        return self.history_days + self.story_days

    @property
    def history_first_day(self) -> date:
        """The first simulated day."""
        return self.dates.told - timedelta(days=self.history_days)

    @property
    def starts_at(self) -> int:
        """Start of the history, epoch milliseconds UTC."""
        return midnight_ms(self.history_first_day)

    @property
    def monitoring_starts_at(self) -> int:
        """Start of the live part, epoch milliseconds UTC."""
        return midnight_ms(self.dates.told)

    @property
    def ends_at(self) -> int:
        """End of the live part, exclusive, epoch milliseconds UTC."""
        return self.starts_at + self.days * DAY_MS
