"""`mimamori cards`: card numbers in, card references out; and what the issuer's card system says of its cards."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from fraud.alert_columns import REFERENCE_ROLES
from fraud.alert_files import LineError, make_mapping, tokenize_lines
from fraud.cards import CardTokenizer, is_card_ref
from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard
from fraud.settings import load_settings

app = typer.Typer(help="Card references, and what the issuer's card system says of its cards.", no_args_is_help=True)


@app.command("tokenize", epilog="Example: mimamori cards tokenize numbers.txt --output references.txt")
def tokenize(
    source: Annotated[Path | None, typer.Argument(help="One card number a line; standard input when left out.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write; standard output when left out.")] = None,
) -> None:
    """Turn card numbers into card references, line for line. No card number is ever printed.

    A line that is no card number of this issuer becomes an empty line and is named, by its line number, on standard
    error; the exit code is then 2.
    """
    settings = load_settings()
    tokenizer = CardTokenizer.from_settings(settings.cards)
    guard = PanGuard.from_settings(settings.portfolio)
    faults = 0
    with (
        source.open(encoding="utf-8") if source else nullcontext(sys.stdin) as lines,
        output.open("w", encoding="utf-8") if output else nullcontext(sys.stdout) as target,
    ):
        for result in tokenize_lines(lines, tokenizer, guard):
            if isinstance(result, LineError):
                faults += 1
                typer.echo(f"line {result.line}: {result.reason}", err=True)
                target.write("\n")
            else:
                target.write(f"{result}\n")
    if faults:
        typer.echo(f"{faults} lines were no card number of this issuer", err=True)
        raise typer.Exit(2)


@app.command("import", epilog="Example: mimamori cards import portfolio.csv --complete")
def import_references(
    file: Annotated[Path, typer.Argument(help="File of card reference data.", exists=True, dir_okay=False)],
    file_format: Annotated[str, typer.Option("--format", help="csv, tsv, json or fixed.")] = "csv",
    encoding: Annotated[str, typer.Option(help="auto, utf-8 or cp932 (Shift_JIS).")] = "auto",
    columns: Annotated[str, typer.Option(help="Which column holds what: 'card_ref=REF,status=#3'.")] = "",
    drop_column: Annotated[list[str], typer.Option("--drop-column", help="A column to discard unread.")] = (),  # type: ignore[assignment]
    expiry_form: Annotated[str, typer.Option(help="auto, or YYMM.")] = "auto",
    complete: Annotated[
        bool,
        typer.Option("--complete", help="It names every card: what it does not name is unmatched."),
    ] = False,
) -> None:
    """Take up status, expiry, product and replacement of cards. Exposures follow a card to the one that came after it.

    May be stopped at any time; the same file again goes on, and is nothing once all is taken up.
    """
    # Late: the store takes long to load, and making references needs none.
    from fraud.alert_files.references import ReferenceFile
    from fraud.cli.import_steps import open_with_clock, progress_bar
    from fraud.cli.operators import actor
    from fraud.store.reference_loads import load_references

    mapping = make_mapping(
        file_format=file_format,
        encoding=encoding,
        columns=columns,
        drop_columns=drop_column,
        expiry_form=expiry_form,
        roles=REFERENCE_ROLES,
    )
    settings = load_settings()
    tokenizer = CardTokenizer.from_settings(settings.cards) if settings.cards.keys else None
    guard = PanGuard.from_settings(settings.portfolio)
    with open_with_clock(settings) as (engine, now), progress_bar() as progress:
        as_of_at = now()

        def opened() -> ReferenceFile:
            with file.open("rb") as stream:
                return ReferenceFile(stream, mapping, as_of_at=as_of_at, tokenizer=tokenizer, guard=guard)

        done = load_references(
            engine,
            opened,
            name=guard.redact(file.name),
            complete=complete,
            loaded_by=actor()[:64],
            now=now,
            progress=progress,
        )
    found = done.report
    typer.echo(
        f"rows {found.rows + done.malformed}, changed {found.changed}, same {found.same}, older {found.stale}, "
        f"refused {found.refused}, malformed {done.malformed}"
    )
    for line, reason in done.malformed_rows[:20]:
        typer.echo(f"  line {line}: {reason}")
    if found.followed_events:
        typer.echo(f"exposures changed in: {', '.join(found.followed_events)}")


@app.command("show", epilog="Example: mimamori cards show x:C-123")
def show(card_ref: Annotated[str, typer.Argument(help="The card reference.")]) -> None:
    """Show what is known of a card: its status, its line of reissues, and the events that it is exposed in."""
    from fraud.cli.import_steps import open_with_clock
    from fraud.store.card_lineages import lineage_of
    from fraud.store.card_references import card_reference_of
    from fraud.store.database import read
    from fraud.store.exposure import card_exposures

    if not is_card_ref(card_ref):
        message = "this is no card reference"
        raise InvalidInputError(message, field="card_ref")
    with open_with_clock(load_settings()) as (engine, _), read(engine) as connection:
        known = card_reference_of(connection, card_ref)
        line = lineage_of(connection, card_ref)
        exposures = card_exposures(connection, card_ref)
    if known is None:
        typer.echo("no reference data")
    else:
        replaced = f", replaced by {known.replaced_by}" if known.replaced_by else ""
        typer.echo(
            f"{known.status}, expiry {known.expiry or 'unknown'}, product {known.product or 'unknown'}{replaced}"
        )
    for other, generation in line if len(line) > 1 else []:
        typer.echo(f"  {'this card' if other == card_ref else other}: reissue {generation}")
    for exposure in exposures:
        typer.echo(f"{exposure.compromise_event_id}  E{exposure.tier}  {exposure.status}  {exposure.provenance}")
