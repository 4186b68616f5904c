"""`mimamori imports reviews`: what is watched is extended or released by a person, and by no timer."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fraud.cards import is_card_ref
from fraud.cli.import_steps import open_with_clock
from fraud.cli.operators import AsJson, Reason, actor, print_json, print_table
from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard
from fraud.settings import load_settings
from fraud.store.database import read, write
from fraud.store.exposure_reviews import (
    REVIEW_DAYS,
    ReviewDecision,
    decide_review,
    get_review,
    list_reviews,
    review_exceptions,
)

reviews_app = typer.Typer(help="Reviews of what is watched: a person extends or releases.", no_args_is_help=True)


@reviews_app.command("list", epilog="Example: mimamori imports reviews list --due")
def list_open_reviews(
    due: Annotated[bool, typer.Option("--due", help="Only those whose time has come.")] = False, as_json: AsJson = False
) -> None:
    """List what is to be reviewed, one task a compromise event."""
    with open_with_clock(load_settings()) as (engine, now), read(engine) as connection:
        found = list_reviews(connection, now() if due else None)
    if as_json:
        print_json([asdict(item) for item in found])
        return
    print_table(
        "Reviews",
        ("review", "compromise event", "due on (UTC)"),
        [(item.review_id, item.compromise_event_id, _day(item.due_at)) for item in found],
    )


@reviews_app.command("exceptions", epilog="Example: mimamori imports reviews exceptions 3")
def exceptions(review_id: Annotated[int, typer.Argument(min=1)]) -> None:
    """List the cards that want a look of their own: closed, replaced, with an open case, in another event."""
    with open_with_clock(load_settings()) as (engine, _), read(engine) as connection:
        event_id = get_review(connection, review_id).compromise_event_id
        cursor = None
        while True:
            page = review_exceptions(connection, event_id, cursor, 200)
            for item in page.items:
                typer.echo(f"{item.card_ref}  E{item.tier}  {' '.join(item.reasons)}")
            cursor = page.next_cursor
            if cursor is None:
                break


@reviews_app.command(
    "decide", epilog="Example: mimamori imports reviews decide 3 EXTENDED --reason 'still spent abroad'"
)
def decide(
    review_id: Annotated[int, typer.Argument(min=1)],
    decision: Annotated[ReviewDecision, typer.Argument(help="For all cards but the exceptions.")],
    reason: Reason,
    days: Annotated[int, typer.Option(help="Days until the next review, while cards stay watched.")] = REVIEW_DAYS,
    except_file: Annotated[
        Path | None, typer.Option("--except", help="Card references, one a line, that get the other.", exists=True)
    ] = None,
) -> None:
    """Extend an event's watching, or release its cards; exceptions get the other."""
    lines = except_file.read_text(encoding="utf-8").splitlines() if except_file else []
    named = [line.strip() for line in lines if line.strip()]
    if not all(map(is_card_ref, named)):
        message = "every line is one card reference"
        raise InvalidInputError(message, field="--except")
    settings = load_settings()
    reason = PanGuard.from_settings(settings.portfolio).redact(reason)
    with open_with_clock(settings) as (engine, now), write(engine) as connection:
        decide_review(
            connection,
            review_id,
            decision,
            decided_by=actor()[:64],
            reason=reason,
            now=now(),
            exceptions=named,
            days=days,
        )
    typer.echo(f"review {review_id}: {decision.value}, {len(named)} exceptions")


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()
