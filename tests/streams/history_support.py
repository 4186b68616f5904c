"""Files of an issuer to import: written from known transactions, so that what comes out can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import SecretStr

from fraud.cards import CardTokenizer
from fraud.cli.wiring import make_decoder
from fraud.pan_guard import PanGuard
from fraud.settings import CardSettings, PortfolioSettings, Settings
from fraud.transactions import FIELDS, Columns
from models.profiles import Lineage
from streams.archive import ArchiveTable
from streams.history import load_mapping
from streams.history.accumulating import HistoryState, ProfileSettings
from streams.history.decoding import HistoryDecoder
from streams.history.importing import ImportJob
from streams.history.lineage import read_lineage
from streams.wire_fields import spelled_column

CARD_KEY = "5f" * 32
NOW = 1_760_000_000_000  # 2025-10-09
JAPAN = 392
PARTITIONS = 3
WINDOW = 1_000


def source_frame(columns: Columns) -> pl.DataFrame:
    """Transactions as a table of the contract's own values; fields that are nowhere known are left out."""
    spelled = {field.name: spelled_column(field, columns[field.name]) for field in FIELDS}
    known = {name: values for name, values in spelled.items() if any(value is not None for value in values)}
    return pl.DataFrame(known, infer_schema_length=None)


def mapping_file(folder: Path, frame: pl.DataFrame, paths: str = "export/*.csv", more: str = "", **fields: str) -> Path:
    """A mapping of columns that are called as the contract's fields; `fields` are other right sides, in TOML."""
    lines = ["[fields]"]
    for name in dict.fromkeys([*frame.columns, *fields]):
        if name in fields:
            lines.append(f"{name} = {fields[name]}")
        elif name.endswith("_at"):
            lines.append(f'{name} = {{ column = "{name}", format = "epoch_ms" }}')
        else:
            lines.append(f'{name} = "{name}"')
    path = folder / "mapping.toml"
    head = [] if "[files]" in more else ["[files]", f'paths = ["{paths}"]']
    top, _, rest = more.partition("[")
    path.write_text("\n".join([top, *head, *lines, "[" + rest if rest else ""]), encoding="utf-8")
    return path


def settings(folder: Path) -> Settings:
    return Settings(
        data_dir=folder / "data",
        portfolio=PortfolioSettings(bin_ranges=("453201",)),
        cards=CardSettings(keys={1: SecretStr(CARD_KEY)}),
    )


def decoder_of(mapping: Any, folder: Path, until: int | None = None, latest_at: int = NOW) -> HistoryDecoder:
    own = settings(folder)
    decoder = make_decoder(own, PanGuard.from_settings(own.portfolio))
    return HistoryDecoder(mapping, decoder, CardTokenizer.from_settings(own.cards), latest_at, until)


def job_of(folder: Path, mapping_path: Path, archive: Path, **changes: Any) -> ImportJob:
    """An import of that mapping into that archive."""
    mapping = load_mapping(mapping_path)
    lineage = Lineage() if mapping.lineage is None else read_lineage(mapping.lineage, mapping.message_key)
    until = changes.get("until")
    given: dict[str, Any] = {
        "mapping": mapping,
        "settings": ProfileSettings(
            JAPAN,
            "Asia/Tokyo",
            PARTITIONS,
            mapping.message_key,
            changes.pop("profile_by", "card"),
            lineage,
        ),
        "table": ArchiveTable(archive),
        "imports_dir": archive.parent / "imports",
        "make_decoder": lambda latest_at: decoder_of(mapping, folder, until, latest_at),
        "load_scorer": lambda _: None,
        "dedupe_window": WINDOW,
        "now": NOW,
    }
    return ImportJob(**given | changes)


def archived(table: ArchiveTable) -> pl.DataFrame:
    """Everything in the archive, in log order."""
    return pl.read_delta(str(table.uri)).sort("topic_id", "partition", "offset")


class Taker:
    """Takes state over as the stream would, and keeps it."""

    def __init__(self) -> None:
        self.states: dict[int, Any] = {}

    def check(self) -> None:
        """Nothing has moved on."""

    def is_begun(self) -> bool:
        return bool(self.states)

    def register(self, states_of: Any, dedupe_window: int, now: int) -> int:
        del dedupe_window, now
        self.states = {partition: states_of(partition) for partition in range(PARTITIONS)}
        return sum(map(len, self.states.values()))

    def bytes(self) -> dict[int, dict[int, bytes]]:
        """By partition and key, the record's bytes."""
        return {
            partition: {
                key: states.records[slot].tobytes()
                for key, slot in zip(states.keys.tolist(), states.slots(states.keys, create=False), strict=True)
            }
            for partition, states in self.states.items()
        }


def silent(*_: object) -> None:
    """No progress."""


def straight(columns: Columns, **changes: Any) -> HistoryState:
    """State of transactions in the order of time, without any import."""
    order = np.lexsort((columns["event_id"].astype(str), columns["occurred_at"]))
    state = HistoryState(ProfileSettings(JAPAN, "Asia/Tokyo", PARTITIONS, **changes))
    state.apply(columns.take(order))
    return state
