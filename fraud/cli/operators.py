"""What the operators' commands share: who gives them, which partition they mean, and how they print."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fraud.clock import SystemClock
from fraud.settings import KafkaSettings
from fraud.store.records import PartitionKey
from streams.kafka import topic_id

Reason = Annotated[str, typer.Option(help="Why; it goes into the audit log.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Partition = Annotated[int, typer.Argument(min=0, help="Partition of the transactions topic.")]
Offset = Annotated[int, typer.Argument(min=0, help="Offset of the record in it.")]


def actor() -> str:
    """Who gives this command, for the audit log: the account on this machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"[:128]


def now_ms() -> int:
    """The machine's time in epoch milliseconds: what operators do happens now, whatever time the stream tells."""
    return int(SystemClock().now().timestamp() * 1000)


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
    Console().print(table)


def _cell(value: object) -> Text:
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(str(value), justify="right")
    return Text("" if value is None else str(value))
