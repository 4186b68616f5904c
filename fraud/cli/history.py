"""What `mimamori archive import` and `mimamori state` share: profiles, the start of the stream, progress."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from fraud.cards import CardTokenizer
from fraud.cli.wiring import make_decoder, make_tokenizer
from fraud.codes import country_numbers
from fraud.errors import InvalidInputError, NotFoundError
from fraud.pan_guard import PanGuard
from fraud.settings import Settings
from fraud.store.records import PartitionKey
from models.bundle import load_bundle
from models.profiles import Lineage
from models.registry import champion
from models.scoring import Scorer
from streams.history.accumulating import ProfileSettings
from streams.history.decoding import HistoryDecoder
from streams.history.identity import lineage_file
from streams.history.mapping import HistoryMapping, KeyField
from streams.history.splitting import Progress as Told
from streams.kafka import topic_id
from streams.log_reading import open_log


@dataclass(frozen=True, slots=True)
class Log:
    """The transactions topic as it lies in the broker; `first_record_at` is None when it has no record yet."""

    keys: tuple[PartitionKey, ...]
    beginnings: tuple[int, ...]
    first_record_at: int | None


def look_at_log(settings: Settings) -> Log:
    """The topic's partitions, where each begins, and when."""
    kafka = settings.kafka
    topic = kafka.transactions_topic
    identity = topic_id(kafka, topic)
    first: list[int] = []
    with open_log(kafka) as log:
        partitions = log.partitions(topic)
        beginnings = []
        for partition in partitions:
            beginning, end = log.bounds(topic, partition)
            beginnings.append(beginning)
            if beginning < end:
                with contextlib.suppress(NotFoundError):  # a marker of the log's own, or gone a moment ago
                    first.append(log.record(topic, partition, beginning).timestamp)
    keys = tuple(PartitionKey(kafka.group_id, identity, topic, partition) for partition in partitions)
    return Log(keys, tuple(beginnings), min(first, default=None))


def imports_dir(settings: Settings) -> Path:
    """Folder in which imports keep what they are in the middle of, and what they have left out."""
    return settings.data_dir / "imports"


def profile_settings(
    settings: Settings, partitions: int, message_key: KeyField = "card_ref", more: Lineage | None = None
) -> ProfileSettings:
    """Whose profile a transaction belongs to, with all reissues that imports were told of, and with `more`."""
    lineage = Lineage.load(lineage_file(imports_dir(settings)))
    return ProfileSettings(
        home_country=country_numbers()[settings.portfolio.home_country],
        timezone=settings.portfolio.timezone,
        partitions=partitions,
        message_key=message_key,
        profile_by=settings.stream.profile_by,
        lineage=lineage if more is None else lineage.joined(more),
    )


def history_decoder(settings: Settings, mapping: HistoryMapping, latest_at: int, until: int | None) -> HistoryDecoder:
    """The decoder of a mapping's files. An event may be as far ahead of the clock as one on the stream."""
    tokenizer: CardTokenizer | None = None
    if any(item.card_number for item in mapping.fields.values()):
        tokenizer = make_tokenizer(settings)
    decoder = make_decoder(settings, PanGuard.from_settings(settings.portfolio))
    return HistoryDecoder(mapping, decoder, tokenizer, latest_at + settings.stream.max_future_ms, until)


def load_scorer(settings: Settings, digest: str | None) -> Scorer | None:
    """The model of a digest; of None, the champion if there is one."""
    digest = digest or champion(settings.models_dir)
    return None if digest is None else load_bundle(settings.models_dir, digest)


def parse_time(text: str, option: str) -> int:
    """A time such as `2024-05-01T00:00:00Z` in epoch milliseconds; `InvalidInputError` names the option otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = "is not a time such as 2024-05-01T00:00:00Z"
        raise InvalidInputError(message, field=option) from None
    if found.tzinfo is None:
        message = "needs an offset, such as Z or +09:00"
        raise InvalidInputError(message, field=option)
    return round(found.timestamp() * 1_000)


def time_words(at: int | None) -> str:
    """A time for people, UTC."""
    return "-" if at is None else f"{datetime.fromtimestamp(at / 1_000, UTC):%Y-%m-%d %H:%M:%S}Z"


@contextlib.contextmanager
def shown_progress(quiet: bool) -> Iterator[Told]:
    """Progress on standard error: what is done, rows, rows a second."""
    with Progress(
        TextColumn("{task.description:32}"),
        TextColumn("{task.fields[rows]:>14} rows"),
        TextColumn("{task.fields[rate]:>10} rows/s"),
        TimeElapsedColumn(),
        console=Console(stderr=True, quiet=quiet),
        transient=True,
    ) as bar:
        task = bar.add_task("starting", total=None, rows="0", rate="-")
        counts: dict[str, tuple[float, int]] = {}

        def told(what: str, rows: int) -> None:
            since, before = counts.setdefault(what, (time.monotonic(), 0))
            counts[what] = since, before + rows
            seconds = time.monotonic() - since
            rate = f"{(before + rows) / seconds:,.0f}" if seconds > 0.5 else "-"
            bar.update(task, description=what[:32], rows=f"{before + rows:,}", rate=rate)

        yield told
