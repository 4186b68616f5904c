"""`mimamori state`: what the stream remembers of the cards, and how to make it anew from the archive."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import typer
from sqlalchemy import Engine

from fraud.cards import card_keys, is_card_ref
from fraud.cli.history import look_at_log, profile_settings, shown_progress, time_words
from fraud.cli.operators import AsJson, print_json, print_table, store
from fraud.clock import now_ms
from fraud.errors import InvalidInputError, MimamoriError, NotFoundError
from fraud.settings import Settings, load_settings
from fraud.store.database import read
from fraud.store.effects import read_position
from fraud.store.operations import newest_checkpoint
from fraud.store.records import PartitionKey
from fraud.store.views import CheckpointView
from models.card_state import STATE_SCHEMA_DIGEST
from models.evaluability import NotEvaluable, not_evaluable
from models.evidence import recent_events
from models.profile_words import profile_facts, profile_words
from streams.archive import ArchiveTable
from streams.history.coverage import archived_days, history_start
from streams.kafka import topic_id
from streams.log_reading import open_log
from streams.seeding import partition_of
from streams.snapshots import Snapshots
from streams.state_rebuild import StateRebuild, log_payloads

app = typer.Typer(help="State: what the stream remembers of each card.", no_args_is_help=True)

_ANY = 2**62  # further than every offset


@app.command("show", epilog="Example: mimamori state show --card-ref x:card-17")
def show(
    card_ref: Annotated[str | None, typer.Option(help="One card's profile in words.")] = None,
    cards: Annotated[bool, typer.Option(help="Count the cards, which reads the newest snapshots.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show partitions, checkpoints, cards and bytes, since when history exists, and what is not evaluable yet.

    This is state as the newest checkpoints have it; a worker that runs is a little further.
    """
    settings = load_settings()
    if card_ref is not None:
        _show_card(settings, card_ref, as_json=as_json)
        return
    with store(settings) as engine:
        snapshots = Snapshots.from_settings(settings, engine)
        rows = [_partition(engine, snapshots, key, count=cards) for key in _keys(settings)]
    history_from = history_start(archived_days(ArchiveTable.from_settings(settings)))
    off = not_evaluable(None, history_from, now_ms())
    if as_json:
        names = {"features": dict(off.features), "rules": dict(off.rules)}
        content = {"state_schema": STATE_SCHEMA_DIGEST, "history_from": history_from, "not_evaluable": names}
        print_json({**content, "partitions": rows})
        return
    columns = ("partition", "position", "checkpoint", "made_at", "cards", "bytes", "schema")
    print_table("State", columns, [_cells(row) for row in rows])
    typer.echo(f"State schema of this version: {STATE_SCHEMA_DIGEST[:12]}")
    _say_history(history_from, off)


@app.command("rebuild", epilog="Example: mimamori state rebuild --all; mimamori state rebuild --all --verify")
def rebuild(
    partition: Annotated[list[int] | None, typer.Argument(min=0, help="Partitions of the transactions topic.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All partitions.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", "--dry-run", help="Only compare with the newest checkpoints; writes nothing.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even though a worker is the owner, or newer checkpoints have to be forgotten."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make state from the archive: imported history, then the topic's rows. The workers read the rest from the topic.

    Stop the workers first. With --verify, ends with code 1 when a partition's state is another.
    """
    settings = load_settings()
    log = look_at_log(settings)
    numbers = range(len(log.keys)) if everything else sorted(set(partition or ()))
    if not numbers or max(numbers) >= len(log.keys):
        message = f"name partitions from 0 to {len(log.keys) - 1}, or --all"
        raise InvalidInputError(message, field="partition")
    with store(settings) as engine, shown_progress(as_json) as told:
        job = StateRebuild(
            engine=engine,
            table=ArchiveTable.from_settings(settings),
            snapshots=Snapshots.from_settings(settings, engine),
            settings=profile_settings(settings, len(log.keys)),
            dedupe_window=settings.stream.dedupe_window,
            payloads=log_payloads(settings.kafka),
            progress=told,
        )
        if verify:
            done = [job.verify(log.keys[number]) for number in numbers]
        else:
            done = [job.rebuild(log.keys[n], log.beginnings[n], now_ms(), force=force) for n in numbers]
    if as_json:
        print_json([asdict(item) for item in done])
    else:
        title = "Compared with the newest checkpoints" if verify else "Registered as the newest checkpoints"
        rows = [(item.partition, item.offset, item.rows, item.cards, _verdict(item.differing)) for item in done]
        print_table(title, ("partition", "offset", "rows of the topic", "cards", "result"), rows)
    if any(item.differing for item in done):
        raise typer.Exit(1)


def _verdict(differing: int | None) -> str:
    if differing is None:
        return "registered"
    return "equal" if differing == 0 else f"{differing:,} cards differ"


def _keys(settings: Settings) -> list[PartitionKey]:
    kafka = settings.kafka
    identity = topic_id(kafka, kafka.transactions_topic)
    with open_log(kafka) as log:
        numbers = log.partitions(kafka.transactions_topic)
    return [PartitionKey(kafka.group_id, identity, kafka.transactions_topic, number) for number in numbers]


def _newest(engine: Engine, key: PartitionKey) -> CheckpointView | None:
    with read(engine) as connection:
        return newest_checkpoint(connection, key, _ANY)


def _partition(engine: Engine, snapshots: Snapshots, key: PartitionKey, *, count: bool) -> dict[str, Any]:
    with read(engine) as connection:
        position = read_position(connection, key)
    checkpoint = _newest(engine, key)
    row: dict[str, Any] = {
        "partition": key.partition,
        "position": None if position is None else position.next_offset,
        "owner": None if position is None else position.owner,
        "checkpoint": None if checkpoint is None else checkpoint.next_offset,
        "made_at": None if checkpoint is None else checkpoint.created_at,
        "state_schema": None if checkpoint is None else checkpoint.state_schema,
        "objects": 0 if checkpoint is None else len(checkpoint.paths),
        "cards": None,
        "bytes": None,
        "fault": None,
    }
    if checkpoint is not None and count:
        try:
            state, _ = snapshots.load(key, checkpoint.owner_epoch, checkpoint.next_offset)
        except MimamoriError as error:
            row["fault"] = str(error)
        else:
            row |= {"cards": len(state.cards), "bytes": state.cards.records.nbytes}
    return row


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    schema = "" if row["state_schema"] is None else row["state_schema"][:12]
    shown = [row[name] for name in ("partition", "position", "checkpoint", "cards", "bytes")]
    shown.insert(3, time_words(row["made_at"]))
    return (*shown, row["fault"] or schema)


def _say_history(history_from: int | None, off: NotEvaluable) -> None:
    if history_from is None:
        typer.echo("The archive is empty: no history is known.")
        return
    typer.echo(f"History of all cards begins {time_words(history_from)}.")
    if off.features:
        rows = [("feature", name, why) for name, why in off.features.items()]
        rows += [("rule", name, why) for name, why in off.rules.items()]
        print_table("Not evaluable yet", ("", "name", "why"), rows)
    else:
        typer.echo("It is long enough for every feature and rule.")


def _show_card(settings: Settings, card_ref: str, *, as_json: bool) -> None:
    if not is_card_ref(card_ref):
        message = "is no card reference (v1:... or x:...); of a card number, `mimamori cards` makes one"
        raise InvalidInputError(message, field="card-ref")
    keys = _keys(settings)
    wanted = card_keys(np.array([card_ref], dtype=np.object_))
    # The card's own partition first; where records are keyed by account it is any.
    own = partition_of(card_ref.encode(), len(keys))
    with store(settings) as engine:
        snapshots = Snapshots.from_settings(settings, engine)
        for key in sorted(keys, key=lambda item: item.partition != own):
            checkpoint = _newest(engine, key)
            if checkpoint is None:
                continue
            state, _ = snapshots.load(key, checkpoint.owner_epoch, checkpoint.next_offset)
            slot = int(state.cards.slots(wanted, create=False)[0])
            if slot >= 0:
                _say_card(settings, key.partition, checkpoint, state.cards.records[slot], as_json=as_json)
                return
    message = "no snapshot has this card"
    raise NotFoundError(message)


def _say_card(
    settings: Settings, partition: int, checkpoint: CheckpointView, record: np.void, *, as_json: bool
) -> None:
    if as_json:
        content = {"partition": partition, "offset": checkpoint.next_offset, "profile": profile_facts(record)}
        print_json({**content, "recent_events": recent_events(record)})
        return
    typer.echo(f"Partition {partition}, as of offset {checkpoint.next_offset}:")
    for line in profile_words(record, settings.portfolio.currency, settings.portfolio.timezone):
        typer.echo(f"  {line}")
    events = recent_events(record)
    names = ("occurred_at", "amount_minor", "mcc_group", "country", "channel", "approved")
    rows = [(time_words(item["occurred_at"]), *(item[name] for name in names[1:])) for item in events[-10:]]
    print_table("Its last events", [name.replace("_", " ") for name in names], rows)
