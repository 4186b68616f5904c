"""`mimamori positions`: where each partition is, and moving one by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from fraud.cli.operators import AsJson, Partition, Reason, actor, partition_key, print_json, print_table, store
from fraud.clock import now_ms
from fraud.errors import InvalidInputError
from fraud.settings import load_settings
from fraud.store.database import read, write
from fraud.store.effects import list_positions
from fraud.store.position_resets import reset_position
from streams.log_reading import open_log

app = typer.Typer(help="Positions: where each partition's effects have got to.", no_args_is_help=True)

_SHOWN = ("next_offset", "owner_epoch", "owner", "processed", "dead_lettered", "duplicates", "quarantined", "detected")


@app.command("show", epilog="Example: mimamori positions show --json")
def show(as_json: AsJson = False) -> None:
    """Show all positions, their owners and their counters."""
    with store(load_settings()) as engine, read(engine) as connection:
        positions = list_positions(connection)
    if as_json:
        print_json(
            [{**asdict(item.key), **{k: v for k, v in asdict(item).items() if k != "key"}} for item in positions]
        )
        return
    rows = [(item.key.topic, item.key.partition, *(getattr(item, name) for name in _SHOWN)) for item in positions]
    print_table("Positions", ("topic", "partition", *(name.replace("_", " ") for name in _SHOWN)), rows)


@app.command(
    "reset",
    epilog="Example: mimamori positions reset 3 --to 120000 --reason 'records before were lost to retention, see 4711'",
)
def reset(
    partition: Partition,
    to: Annotated[int, typer.Option(min=0, help="The offset to go on from.")],
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="Even though a worker is recorded as the owner.")] = False,
) -> None:
    """Let a partition go on from another offset: back, to decide records again, or forward, to leave some out.

    Stop its worker first. A worker that was killed is still recorded as the owner: then --force takes the partition
    from it, and should it come back its commits are refused. Who, when, why and the counters from before go into the
    audit log, and `mimamori reconcile` counts from the new offset on.
    """
    settings = load_settings()
    key = partition_key(settings.kafka, partition)
    with open_log(settings.kafka) as log:
        beginning, end = log.bounds(key.topic, partition)
    if not beginning <= to <= end:
        message = f"the log has offsets from {beginning} to {end}"
        raise InvalidInputError(message, field="to")
    with store(settings) as engine, write(engine) as connection:
        before = reset_position(connection, key, to, actor=actor(), reason=reason, now=now_ms(), force=force)
    typer.echo(f"partition {partition}: position set from {before.next_offset} to {to}")
