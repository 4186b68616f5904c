"""What the operators' commands share: who gives them, which partition they mean, and how they print."""

from __future__ import annotations

import getpass
import json
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from fraud.cli.wiring import open_store
from fraud.settings import KafkaSettings, Settings
from fraud.store.records import PartitionKey
from streams.kafka import topic_id

Reason = Annotated[str, typer.Option(help="Why; it goes into the audit log.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Partition = Annotated[int, typer.Argument(min=0, help="Partition of the transactions topic.")]
Offset = Annotated[int, typer.Argument(min=0, help="Offset of the record in it.")]

_PIPE_WIDTH = 240


def actor() -> str:
    """Who gives this command, for the audit log: the account on this machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"[:128]


@contextmanager
def store(settings: Settings) -> Iterator[Engine]:
    """The database for one command, closed at its end."""
    engine = open_store(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def partition_key(settings: KafkaSettings, partition: int) -> PartitionKey:
    """The group's partition of the transactions topic as it is now."""
    topic = settings.transactions_topic
    return PartitionKey(settings.group_id, topic_id(settings, topic), topic, partition)


def print_json(value: Any) -> None:
    """Print plain data as JSON."""
    typer.echo(json.dumps(value, indent=2))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as a table, numbers to the right. Values are shown as they are, never read as markup."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # A file or a pipe has no width; there a row stays on one line.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _cell(value: object) -> Text:
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(str(value), justify="right")
    return Text("" if value is None else str(value))
