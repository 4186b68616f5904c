"""`mimamori imports`: exposed cards into a compromise event, with a dry run first."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fraud.alert_files import AlertFile, make_mapping
from fraud.cards import CardTokenizer, is_card_ref, read_pan
from fraud.cli.import_steps import bring, open_with_clock, publish_and_show
from fraud.cli.operators import AsJson, Reason, actor, print_json, print_table
from fraud.cli.reviews import reviews_app
from fraud.cli.wiring import open_store
from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard
from fraud.settings import load_settings
from fraud.store.compromise_records import get_compromise_event
from fraud.store.database import read, write
from fraud.store.import_findings import Finding, all_import_rows
from fraud.store.import_publishing import discard_import, expose_by_hand
from fraud.store.import_staging import (
    get_import,
    list_imports,
    remove_rows,
)

app = typer.Typer(help="Imports of exposed cards.", no_args_is_help=True)
app.add_typer(reviews_app, name="reviews")

EventArgument = Annotated[str, typer.Argument(help="The compromise event.")]
ImportArgument = Annotated[int, typer.Argument(min=1, help="Number of the import.")]
FileArgument = Annotated[Path, typer.Argument(help="File of card numbers or references.", exists=True, dir_okay=False)]
Format = Annotated[str, typer.Option("--format", help="csv, tsv, json or fixed.")]
Encoding = Annotated[str, typer.Option(help="auto, utf-8 or cp932 (Shift_JIS).")]
Columns = Annotated[
    str, typer.Option(help="Which column holds what: 'card_number=PAN NO,expiry=#2'; fixed: bytes 1-16.")
]
DropColumn = Annotated[list[str], typer.Option("--drop-column", help="A column to discard unread, such as cvv2.")]
ExpiryForm = Annotated[str, typer.Option(help="auto, or YYMM.")]
NoHeader = Annotated[bool, typer.Option("--no-header", help="The first line is a row; name columns by place: #1.")]
Publish = Annotated[bool, typer.Option("--publish", help="Watch the cards at once, after the dry run.")]


@app.command("check", epilog="Example: mimamori imports check shop-2022 cards.csv --drop-column cvv2")
def check(
    event_id: EventArgument,
    file: FileArgument,
    file_format: Format = "csv",
    encoding: Encoding = "auto",
    columns: Columns = "",
    drop_column: DropColumn = (),  # type: ignore[assignment]
    expiry_form: ExpiryForm = "auto",
    no_header: NoHeader = False,
    publish: Publish = False,
    as_json: AsJson = False,
) -> None:
    """Read a file and say what it would do; with --publish, do it. The same file again changes nothing.

    Card numbers become references in memory and are never written. A column of security codes refuses the file, unless
    it is named to be dropped.
    """
    mapping = make_mapping(
        file_format=file_format,
        encoding=encoding,
        columns=columns,
        drop_columns=drop_column,
        expiry_form=expiry_form,
        header=not no_header,
    )
    settings = load_settings()
    tokenizer = CardTokenizer.from_settings(settings.cards) if settings.cards.keys else None
    guard = PanGuard.from_settings(settings.portfolio)
    with file.open("rb") as stream:
        opened = AlertFile(stream, mapping, tokenizer=tokenizer, guard=guard)
    name = guard.redact(file.name)
    bring(settings, event_id, opened, opened.sha256, name, "ALERT_FILE", publish=publish, as_json=as_json)


@app.command("from-archive", epilog="Example: mimamori imports from-archive shop-2022 --publish")
def from_archive(event_id: EventArgument, publish: Publish = False, as_json: AsJson = False) -> None:
    """Find every card that paid at the event's merchants in its window, in our own archive; with --publish, watch them.

    Says how many days of the window the archive holds: cards that were only typed into a skimmed page and never used
    there cannot be found this way.
    """
    from streams.archive import ArchiveReader, ArchiveTable
    from streams.merchant_cards import cards_at_merchants

    settings = load_settings()
    engine = open_store(settings, migrate=True)
    with read(engine) as connection:
        event = get_compromise_event(connection, event_id)
    engine.dispose()
    archive = ArchiveReader(ArchiveTable.from_settings(settings))
    found = cards_at_merchants(archive, event.entities, event.window_start_at, event.window_end_at)
    typer.echo(
        f"{len(found.cards):,} cards in {found.transactions:,} transactions; the archive holds {found.days_held} of "
        f"the {found.days} days (UTC) of the window",
        err=as_json,
    )
    if found.days_held < found.days:
        typer.echo("the archive does not hold the whole window: there may be more cards", err=True)
    if not found.cards:
        return
    name = f"archive {event.starts_on} to {event.ends_on}"
    bring(settings, event_id, found, found.digest, name, "ARCHIVE", publish=publish, as_json=as_json)


@app.command("add", epilog="Example: mimamori imports add shop-2022 x:C-123 --reason 'holder called'")
def add(
    event_id: EventArgument,
    reason: Reason,
    card_ref: Annotated[
        str | None, typer.Argument(help="Card reference; left out, the card number is asked for and not shown.")
    ] = None,
) -> None:
    """Watch one card for an event, by hand and with a reason."""
    settings = load_settings()
    guard = PanGuard.from_settings(settings.portfolio)
    aliases: tuple[str, ...] = ()
    last4 = None
    if card_ref is None:
        digits, problem = read_pan(typer.prompt("Card number", hide_input=True))
        if problem or not guard.owns(digits):
            message = f"this is no card number of this issuer ({problem or 'NOT_OURS'})"
            raise InvalidInputError(message, field="card number")
        card_ref, *older = CardTokenizer.from_settings(settings.cards).checked_references(digits)
        aliases, last4 = tuple(older), digits[-4:]
    elif not is_card_ref(card_ref) or guard.finds_in_card_ref(card_ref):
        message = "this is no card reference; leave it out to be asked for a card number"
        raise InvalidInputError(message, field="card_ref")
    with open_with_clock(settings) as (engine, now), write(engine) as connection:
        done = expose_by_hand(
            connection,
            event_id,
            card_ref,
            reason=guard.redact(reason),
            exposed_by=actor()[:64],
            now=now(),
            pan_last4=last4,
            aliases=aliases,
        )
    typer.echo(f"import {done.import_id}: watched since exposure version {done.exposure_version}")


@app.command("publish", epilog="Example: mimamori imports publish 17")
def publish_one(import_id: ImportArgument, as_json: AsJson = False) -> None:
    """Watch the cards of a dry run. All of them or, where something fails, none."""
    with open_with_clock(load_settings()) as (engine, now):
        publish_and_show(engine, import_id, now, as_json=as_json)


@app.command("discard", epilog="Example: mimamori imports discard 17")
def discard(import_id: ImportArgument) -> None:
    """Give up a dry run; what it stored is removed."""
    with open_with_clock(load_settings()) as (engine, now):
        with write(engine) as connection:
            discard_import(connection, import_id, actor()[:64], now())
        remove_rows(engine, import_id)
    typer.echo(f"import {import_id} discarded")


@app.command("list", epilog="Example: mimamori imports list shop-2022")
def list_all(event_id: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """List the latest imports."""
    with open_with_clock(load_settings()) as (engine, _), read(engine) as connection:
        found = list_imports(connection, event_id)
    if as_json:
        print_json([asdict(item) for item in found])
        return
    names = ("import_id", "compromise_event_id", "status", "provenance", "name", "rows", "created_by")
    rows = [[*(getattr(item, name) for name in names), item.findings.get("MATCHED")] for item in found]
    print_table("Imports", [*(name.replace("_", " ") for name in names), "matched"], rows)


@app.command("rows", epilog="Example: mimamori imports rows 17 --finding EXPIRY_DIFFERS --output differs.csv")
def rows(
    import_id: ImportArgument,
    finding: Annotated[Finding | None, typer.Option(help="Only the rows of this finding.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write; standard output when left out.")] = None,
) -> None:
    """Write what was found, row by row, as CSV: line, findings, reason, card reference; no card number."""
    with open_with_clock(load_settings()) as (engine, _), read(engine) as connection:
        get_import(connection, import_id)
        target = output.open("w", encoding="utf-8", newline="") if output else sys.stdout
        try:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(("line", "findings", "reason", "card_ref", "pan_last4", "expiry"))
            for row in all_import_rows(connection, import_id, finding):
                cells = (row.line, " ".join(row.findings), row.reason, row.card_ref, row.pan_last4, row.expiry)
                writer.writerow(["" if cell is None else cell for cell in cells])
        finally:
            if output:
                target.close()
