"""`mimamori exposure ...`: what becomes of a compromise event, from the first suspicion to its end."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from fraud.cli.options import member, parse_day
from fraud.cli.wiring import make_clock, open_store
from fraud.clock import now_ms
from fraud.compromise import (
    CompromiseStatus,
    DataElements,
    SchemeAlert,
    WindowPrecision,
    transition,
)
from fraud.compromise_amendments import Amendment, AmendmentEffect, window_with
from fraud.compromise_disclosure import Disclosure
from fraud.errors import InvalidInputError
from fraud.settings import load_settings
from fraud.store import compromise_changes as changes
from fraud.store import compromise_facts as facts
from fraud.store.compromise_parts import alert_source
from fraud.store.compromise_records import compromise_versions, get_compromise_event
from fraud.store.compromise_views import CompromiseEventView, as_seen
from fraud.store.database import read, write

app = typer.Typer()

EventArgument = Annotated[str, typer.Argument(help="The compromise event's id.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept with the version and in the audit log.")]
NamesOption = Annotated[
    bool,
    typer.Option("--names", help="Names, notes and entities also before publication. Keep the output to yourself."),
]


@app.command("show", epilog="Example: mimamori exposure show CE-2022-07")
def show(event_id: EventArgument, names: NamesOption = False) -> None:
    """Show one compromise event as JSON. Before publication names are left out unless they are asked for."""
    with read(open_store(load_settings())) as connection:
        event = get_compromise_event(connection, event_id)
    typer.echo(json.dumps(asdict(as_seen(event, insider=names)), ensure_ascii=False, indent=2))


@app.command("versions", epilog="Example: mimamori exposure versions CE-2022-07")
def versions(event_id: EventArgument) -> None:
    """List every version of an event: what it was known to be, since when, and who changed it."""
    with read(open_store(load_settings())) as connection:
        event = get_compromise_event(connection, event_id)
        found = compromise_versions(connection, event_id)
    for item in found:
        at = datetime.fromtimestamp(item.changed_at / 1000, ZoneInfo(event.zone))
        typer.echo(
            f"{item.version:>3}  {at:%Y-%m-%d %H:%M}  {item.change:<14}  {item.status:<13}  {item.disclosure:<15}  "
            f"{item.starts_on}..{item.ends_on}  E{item.tier}  {','.join(item.data_elements)}  {item.changed_by}"
        )


@app.command("fact", epilog="Example: mimamori exposure fact CE-2022-07 REGULATOR_TOLD --on 2022-08-01")
def fact(
    event_id: EventArgument,
    kind: Annotated[str, typer.Argument(help="FIRST_WORD, CONTAINED, PAYMENTS_STOPPED, FORENSIC_REPORT, ...")],
    on: Annotated[str, typer.Option(help="The day, in the zone of the event.", metavar="DATE")],
    author: Annotated[str | None, typer.Option(help="Of a forensic report.")] = None,
    note: Annotated[str | None, typer.Option(help="A few words.")] = None,
) -> None:
    """Add a dated fact: who did or was told what, and when."""
    day = parse_day(on, "--on")

    def step(connection: Connection, now: int, actor: str) -> CompromiseEventView:
        return facts.add_fact(connection, event_id, kind.upper(), day, note, now, author, actor)

    _change(step)


@app.command("withdraw-fact", epilog="Example: mimamori exposure withdraw-fact CE-2022-07 3 --reason 'wrong day'")
def withdraw_fact(
    event_id: EventArgument, fact_id: Annotated[int, typer.Argument(help="As `show` tells it.")], reason: ReasonOption
) -> None:
    """Take back a fact that was a mistake. It stays to be seen, with the reason."""

    def step(connection: Connection, now: int, actor: str) -> CompromiseEventView:
        return facts.withdraw_fact(connection, event_id, fact_id, reason, now, actor)

    _change(step)


@app.command(
    "alert", epilog="Example: mimamori exposure alert CE-2022-07 VISA_CAMS IC-4711 --received 2022-08-04T10:30"
)
def alert(
    event_id: EventArgument,
    source: Annotated[str, typer.Argument(help="VISA_CAMS, MC_ADC, JCB, ACQUIRER, PSP, MERCHANT_NOTICE, ...")],
    external_id: Annotated[str, typer.Argument(help="Their id.")],
    received: Annotated[str, typer.Option(help="When it came, in the zone of the event.", metavar="TIME")],
    note: Annotated[str | None, typer.Option(help="A few words.")] = None,
) -> None:
    """Record a scheme alert. An event that was only suspected is ALERTED from then on."""

    def step(connection: Connection, now: int, actor: str) -> CompromiseEventView:
        at = _moment(received, get_compromise_event(connection, event_id).zone)
        came = SchemeAlert(alert_source(source.upper()), external_id, at, note)
        return facts.add_scheme_alert(connection, event_id, came, now, actor)

    _change(step)


@app.command("status", epilog="Example: mimamori exposure status CE-2022-07 CONFIRMED")
def status(
    event_id: EventArgument,
    to: Annotated[str, typer.Argument(help="ALERTED, INVESTIGATING, CONFIRMED, INCONCLUSIVE, CLOSED, REFUTED.")],
    reason: Annotated[str | None, typer.Option(help="Needed to reopen a closed event.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would follow, and change nothing.")] = False,
) -> None:
    """Take the finding a step further. Closing or refuting releases its cards; reopening watches them again."""
    wanted = member(CompromiseStatus, to, "status")
    if dry_run:
        with read(open_store(load_settings())) as connection:
            event = get_compromise_event(connection, event_id)
            transition(CompromiseStatus(event.status), wanted, reason=reason)
            effect = changes.status_effect(connection, event, wanted)
        typer.echo(f"would release {effect.released} cards, {effect.kept_elsewhere} of them watched for another event")
        return

    def step(connection: Connection, now: int, actor: str) -> CompromiseEventView:
        version = get_compromise_event(connection, event_id).version
        return changes.set_status(connection, event_id, wanted, version, now, reason, actor)

    _change(step)


@app.command("disclose", epilog="Example: mimamori exposure disclose CE-2022-07 MAY_TELL_HOLDER --reason 'agreed'")
def disclose(
    event_id: EventArgument,
    to: Annotated[str, typer.Argument(help="RESTRICTED, MAY_TELL_HOLDER or PUBLISHED.")],
    reason: Annotated[str | None, typer.Option(help="Needed to keep back what could be said before.")] = None,
) -> None:
    """Say what may be told. The shop may be named once the fact PUBLISHED is recorded."""
    wanted = member(Disclosure, to, "disclosure")

    def step(connection: Connection, now: int, actor: str) -> CompromiseEventView:
        version = get_compromise_event(connection, event_id).version
        return changes.set_disclosure(connection, event_id, wanted, version, now, reason, actor)

    _change(step)


@app.command("amend", epilog="Example: mimamori exposure amend CE-2022-07 --from 2022-07-17 --reason 'forensic report'")
def amend(
    event_id: EventArgument,
    reason: ReasonOption,
    starts_on: Annotated[str | None, typer.Option("--from", help="First day of the window.", metavar="DATE")] = None,
    ends_on: Annotated[str | None, typer.Option("--to", help="Last day, inclusive.", metavar="DATE")] = None,
    zone: Annotated[str | None, typer.Option(help="Time zone of the window.")] = None,
    precision: Annotated[str | None, typer.Option(help="DAY, MONTH or YEAR.")] = None,
    elements: Annotated[str | None, typer.Option(help="All of what leaked: pan,expiry,cvv2,...")] = None,
    name: Annotated[str | None, typer.Option(help="What event managers call it.")] = None,
    code_name: Annotated[str | None, typer.Option(help="What others call it before publication.")] = None,
    vector: Annotated[str | None, typer.Option(help="How it happened; an empty text takes it away.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
) -> None:
    """Amend what is known of an event; what was known before stays as an earlier version.

    Another window or other data elements reach the workers at once, and start a look-back.
    """

    def amendment(event: CompromiseEventView) -> Amendment:
        window = window_with(
            event.known.window,
            parse_day(starts_on, "--from") if starts_on else None,
            parse_day(ends_on, "--to") if ends_on else None,
            zone,
            member(WindowPrecision, precision, "precision") if precision else None,
        )
        leaked = [item.strip() for item in elements.split(",")] if elements else None
        return Amendment(
            reason=reason,
            name=name,
            code_name=code_name,
            window=window,
            elements=DataElements.from_names(leaked) if leaked else None,
            vector=vector,
        )

    if dry_run:
        with read(open_store(load_settings())) as connection:
            event = get_compromise_event(connection, event_id)
            effect, watched = changes.preview_amendment(connection, event_id, amendment(event))
        _tell(effect, watched)
        return

    def step(connection: Connection, now: int, actor: str) -> CompromiseEventView:
        event = get_compromise_event(connection, event_id)
        return changes.amend_compromise_event(connection, event_id, amendment(event), event.version, now, actor)

    _change(step)


def _tell(effect: AmendmentEffect, watched: int) -> None:
    typer.echo(f"changed: {', '.join(effect.changed)}")
    for word, stretches in (("added", effect.days_added), ("removed", effect.days_removed)):
        for first, last in stretches:
            typer.echo(f"days {word}: {first} to {last}")
    typer.echo(f"tier: E{effect.tier_before} to E{effect.tier_after}")
    if effect.changes_matching:
        typer.echo(f"{watched} watched cards would be taken up anew, and their past searched again")


def _change(step: Callable[[Connection, int, str], CompromiseEventView]) -> None:
    settings = load_settings()
    engine = open_store(settings, migrate=True)
    now = now_ms(make_clock(settings, engine))
    with write(engine) as connection:
        event = step(connection, now, getpass.getuser())
    typer.echo(
        f"{event.compromise_event_id} is at version {event.version}: {event.status}, {event.disclosure}, "
        f"{event.starts_on}..{event.ends_on} {event.zone}, tier E{event.tier}"
    )


def _moment(text: str, zone: str) -> int:
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        message = "is not a time such as 2022-08-04T10:30"
        raise InvalidInputError(message, field="--received") from None
    return int((given if given.tzinfo else given.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)
