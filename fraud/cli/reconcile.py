"""`mimamori reconcile`: whether every record in the log is accounted for."""

from __future__ import annotations

from dataclasses import asdict

import typer

from fraud.cli.operators import AsJson, print_json, print_table, store
from fraud.settings import load_settings
from streams.reconciliation import reconcile as reconcile_log

_COLUMNS = (
    *("partition", "first_offset", "next_offset", "waiting", "records", "expired"),
    *("processed", "dead_lettered", "duplicates", "quarantined", "gap", "adds_up"),
)


def reconcile(as_json: AsJson = False) -> None:
    """Read the log up to each position and compare: records = processed + dead letters + duplicates + quarantined.

    Ends with code 1 when a record is missing or counted twice. Workers may go on meanwhile. `expired` are offsets that
    retention has removed; they cannot be read, and each is taken for a record.
    """
    settings = load_settings()
    with store(settings) as engine:
        accounts = reconcile_log(engine, settings.kafka)
    if as_json:
        print_json(
            {
                "adds_up": all(item.adds_up for item in accounts),
                "partitions": [{**asdict(item), "waiting": item.waiting, "adds_up": item.adds_up} for item in accounts],
            }
        )
    else:
        rows = [[getattr(item, name) for name in _COLUMNS] for item in accounts]
        print_table("Reconciliation", [name.replace("_", " ") for name in _COLUMNS], rows)
        for item in accounts:
            for fault in item.faults:
                typer.echo(f"partition {item.partition}: {fault}")
    if not all(item.adds_up for item in accounts):
        raise typer.Exit(1)
