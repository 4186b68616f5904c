"""`mimamori exposure`: compromise events and the cards exposed in them."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from fraud.alert_files import parse_alert_file
from fraud.cli.exposure_events import NamesOption
from fraud.cli.exposure_events import app as events
from fraud.cli.options import member, parse_day
from fraud.cli.wiring import make_clock, make_tokenizer, open_store
from fraud.clock import now_ms
from fraud.compromise import CompromisedEntity, DataElements, EntityRole, ExposureWindow, WindowPrecision
from fraud.compromise_disclosure import refuse_telling_id
from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard
from fraud.settings import load_settings
from fraud.store.compromise_views import as_seen
from fraud.store.database import read, write
from fraud.store.exposure import (
    NewCompromiseEvent,
    create_compromise_event,
    import_exposed_cards,
    list_compromise_events,
)

app = typer.Typer(help="Compromise events and exposed cards.", no_args_is_help=True)
app.add_typer(events)


@app.command(
    "create",
    epilog="Example: mimamori exposure create shop-2022 --name 'Online shop' --from 2022-07-19 --to 2022-07-26 "
    "--elements pan,expiry,cvv2 --source ACQUIRER",
)
def create(
    event_id: Annotated[str, typer.Argument(help="A short id of your own for the compromise event.")],
    name: Annotated[str, typer.Option(help="What event managers call it; others see a code name until publication.")],
    starts_on: Annotated[str, typer.Option("--from", help="First day of the exposure window.", metavar="DATE")],
    ends_on: Annotated[str, typer.Option("--to", help="Last day of it, inclusive.", metavar="DATE")],
    elements: Annotated[str, typer.Option(help="What leaked: pan,expiry,cvv2,name,address,phone,email,login,...")],
    source: Annotated[str, typer.Option(help="VISA_CAMS, MC_ADC, JCB, ACQUIRER, PSP, MERCHANT_NOTICE, ...")],
    zone: Annotated[str | None, typer.Option(help="Time zone of the window; the portfolio's by default.")] = None,
    precision: Annotated[str, typer.Option(help="What the notice gives: DAY, MONTH or YEAR.")] = "DAY",
    code_name: Annotated[str | None, typer.Option(help="What others see before publication; one is made.")] = None,
    entity: Annotated[
        list[str] | None, typer.Option(help="A compromised entity as ROLE:name, for example SUPPLIER:Scripts Ltd.")
    ] = None,
    vector: Annotated[str | None, typer.Option(help="How it happened, for example a tampered script.")] = None,
) -> None:
    """Record a compromise event. Monitoring works from the first suspicion: the state begins as SUSPECTED."""
    settings = load_settings()
    engine = open_store(settings, migrate=True)
    entities = tuple(_entity(text) for text in entity or ())
    refuse_telling_id(event_id, [name, *(item.name for item in entities)])
    window = ExposureWindow(
        parse_day(starts_on, "--from"),
        parse_day(ends_on, "--to"),
        zone or settings.portfolio.timezone,
        member(WindowPrecision, precision, "precision"),
    )
    leaked = DataElements.from_names([item.strip() for item in elements.split(",")])
    now = now_ms(make_clock(settings, engine))
    with write(engine) as connection:
        made = create_compromise_event(
            connection,
            NewCompromiseEvent(
                compromise_event_id=event_id,
                name=name,
                source=source,
                window=window,
                data_elements=leaked,
                entities=entities,
                vector=vector,
                code_name=code_name,
            ),
            now,
            getpass.getuser(),
        )
    typer.echo(f"compromise event {event_id} recorded, tier E{leaked.tier()}, code name {made.code_name}")


def _entity(text: str) -> CompromisedEntity:
    role, _, name = text.partition(":")
    if not name.strip():
        message = "is not written ROLE:name"
        raise InvalidInputError(message, field="--entity")
    return CompromisedEntity(name.strip(), member(EntityRole, role, "--entity"))


@app.command("import", epilog="Example: mimamori exposure import shop-2022 cards.csv")
def import_file(
    event_id: Annotated[str, typer.Argument(help="The compromise event.")],
    file: Annotated[Path, typer.Argument(help="CSV of card numbers or card references, with a header.", exists=True)],
) -> None:
    """Import the exposed cards of a compromise event from a file. The same file again changes nothing.

    Card numbers are tokenised in memory and never written. A column that looks like a security code refuses the file.
    """
    settings = load_settings()
    engine = open_store(settings, migrate=True)
    with file.open("rb") as stream:
        parsed = parse_alert_file(
            stream, tokenizer=make_tokenizer(settings), guard=PanGuard.from_settings(settings.portfolio)
        )
    now = now_ms(make_clock(settings, engine))
    with write(engine) as connection:
        report = import_exposed_cards(connection, event_id, file.name, parsed, getpass.getuser(), now)
    if report.no_op:
        typer.echo("this file has been imported before; nothing changed. The counts are those of the first import:")
    typer.echo(
        f"rows {report.rows}, accepted {report.accepted}, duplicate {report.duplicate}, "
        f"malformed {report.malformed}, unknown {report.unknown}, already in this event {report.already_exposed}"
    )
    for line, reason in parsed.malformed[:20]:
        typer.echo(f"  line {line}: {reason}")


@app.command("list")
def list_events(names: NamesOption = False) -> None:
    """List the compromise events; before publication by their code names."""
    with read(open_store(load_settings())) as connection:
        for event in (as_seen(event, insider=names) for event in list_compromise_events(connection)):
            typer.echo(
                f"{event.compromise_event_id}  {event.status}  {event.disclosure}  E{event.tier}  "
                f"{event.starts_on}..{event.ends_on}  {event.name}"
            )
