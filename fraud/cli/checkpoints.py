"""`mimamori checkpoints`: the registered snapshots of card state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer

from fraud.cli.operators import AsJson, print_json, print_table, store
from fraud.settings import load_settings
from fraud.store.database import read
from fraud.store.inspection import list_checkpoints
from fraud.store.views import CheckpointView
from streams.snapshots import SnapshotError, Snapshots

app = typer.Typer(help="Checkpoints: snapshots that a restart begins from.", no_args_is_help=True)


@app.command("list", epilog="Example: mimamori checkpoints list --json")
def list_all(as_json: AsJson = False) -> None:
    """List all checkpoints; of each partition the furthest first."""
    with store(load_settings()) as engine, read(engine) as connection:
        found = list_checkpoints(connection)
    if as_json:
        print_json([asdict(item) for item in found])
        return
    names = ("checkpoint_id", "topic_id", "partition", "next_offset", "owner_epoch", "created_at")
    rows = [(*(getattr(item, name) for name in names), len(item.paths)) for item in found]
    print_table("Checkpoints", (*(name.replace("_", " ") for name in names), "files"), rows)


@app.command("verify", epilog="Example: mimamori checkpoints verify --all")
def verify(
    everything: Annotated[
        bool, typer.Option("--all", help="All of them, not only the furthest of a partition.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read the files of checkpoints and compare their digests. Ends with code 1 when one is missing or damaged."""
    settings = load_settings()
    with store(settings) as engine:
        with read(engine) as connection:
            found = list_checkpoints(connection)
        wanted = found if everything else list(_furthest(found))
        snapshots = Snapshots.from_settings(settings, engine)
        results = [(item, _fault(item, snapshots)) for item in wanted]
    if as_json:
        print_json([{"checkpoint_id": item.checkpoint_id, "fault": fault} for item, fault in results])
    else:
        rows = [(item.partition, item.next_offset, len(item.paths), fault or "ok") for item, fault in results]
        print_table("Checkpoints", ("partition", "next offset", "files", "result"), rows)
    if any(fault for _, fault in results):
        raise typer.Exit(1)


def _furthest(found: list[CheckpointView]) -> Iterator[CheckpointView]:
    for _, group in groupby(found, key=lambda item: (item.group_id, item.topic_id, item.partition)):
        yield next(group)


def _fault(item: CheckpointView, snapshots: Snapshots) -> str | None:
    try:
        for part in item.paths:
            snapshots.verify(dict(part))
    except SnapshotError as error:
        return str(error)
    return None
