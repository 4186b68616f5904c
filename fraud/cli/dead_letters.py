"""`mimamori dead-letters`: records that could not be processed. Nothing here ever prints what one holds."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from fraud.cli.operators import (
    AsJson,
    Offset,
    Partition,
    Reason,
    actor,
    partition_key,
    print_json,
    print_table,
    store,
)
from fraud.cli.wiring import make_decoder
from fraud.clock import now_ms
from fraud.pan_guard import PanGuard
from fraud.settings import load_settings
from fraud.store.audit import list_audit
from fraud.store.database import read
from fraud.store.inspection import get_dead_letter
from fraud.store.operations import list_dead_letters
from fraud.store.position_resets import partition_subject
from streams.dead_letter_replay import DeadLetterReplay, known_class

app = typer.Typer(help="Dead letters: records that could not be processed.", no_args_is_help=True)

_LISTED = ("partition", "offset", "error_class", "field_path", "payload_bytes", "on_exposed_card", "kind")


@app.command("list", epilog="Example: mimamori dead-letters list --limit 20 --json")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    after: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters and quarantined records, the latest first."""
    with store(load_settings()) as engine, read(engine) as connection:
        page = list_dead_letters(connection, after, limit)
    if as_json:
        print_json({"items": [asdict(item) for item in page.items], "next": page.next_cursor, "total": page.total})
        return
    rows = [(_time(item.recorded_at), item.topic, *(getattr(item, name) for name in _LISTED)) for item in page.items]
    columns = ("recorded", "topic", *(name.replace("_", " ") for name in _LISTED))
    print_table(f"Dead letters ({len(page.items)} of {page.total})", columns, rows)
    if page.next_cursor:
        typer.echo(f"more: --after {page.next_cursor}")


@app.command("show", epilog="Example: mimamori dead-letters show 3 120034")
def show(partition: Partition, offset: Offset, as_json: AsJson = False) -> None:
    """Show one dead letter: why it was refused, whether it may be replayed, and who has tried. Never its payload."""
    settings = load_settings()
    key = partition_key(settings.kafka, partition)
    with store(settings) as engine, read(engine) as connection:
        letter = get_dead_letter(connection, key, offset)
        history = list_audit(connection, subject=f"{partition_subject(key)}/{offset}")
    known = known_class(letter.error_class)
    facts = {
        **asdict(letter),
        "meaning": known.meaning if known else "the event id was used before, with other content",
        "replayable": known is not None and known.replayable,
        "history": [
            {"at": entry.at, "actor": entry.actor, "result": entry.result, "reason": entry.reason} for entry in history
        ],
    }
    if as_json:
        print_json(facts)
        return
    lines = [
        f"{_time(entry.at)} {entry.actor}: {entry.result}{f' ({entry.reason})' if entry.reason else ''}"
        for entry in history
    ]
    shown = {**facts, "recorded_at": _time(letter.recorded_at), "history": "\n".join(lines)}
    print_table("Dead letter", ("what", "value"), [(name.replace("_", " "), value) for name, value in shown.items()])


@app.command("replay", epilog="Example: mimamori dead-letters replay 3 120034 --reason 'decoder mended in 1.4'")
def replay(partition: Partition, offset: Offset, reason: Reason) -> None:
    """Publish a dead letter's record again: the same key and value, to the same partition.

    It is refused when its class can never be right, when the log has another record there, and when it holds a card
    number. An event that was processed meanwhile is a duplicate, so replaying twice does nothing.
    """
    settings = load_settings()
    guard = PanGuard.from_settings(settings.portfolio)
    key = partition_key(settings.kafka, partition)
    with store(settings) as engine:
        replaying = DeadLetterReplay(engine, settings, guard, make_decoder(settings, guard))
        done = replaying.replay(key, offset, actor=actor(), reason=reason, now=now_ms())
    typer.echo(f"{done.topic}/{done.partition}/{done.offset} published again at offset {done.published_offset}")


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"
