"""`mimamori users` and `mimamori tokens`: who may log in, and what machines call with."""

from __future__ import annotations

from typing import Annotated

import typer

from fraud.cli.wiring import make_clock, open_store
from fraud.clock import now_ms
from fraud.settings import load_settings
from fraud.store.database import write
from fraud.store.people import create_api_token, create_user

users_app = typer.Typer(help="People who may log in to the console.", no_args_is_help=True)
tokens_app = typer.Typer(help="Tokens for machines that call the API.", no_args_is_help=True)


@users_app.command("create", epilog="Example: mimamori users create hanako --name 'Hanako Sato' --role reviewer")
def user_create(
    username: str,
    name: Annotated[str, typer.Option(help="The name that colleagues see.")],
    role: Annotated[
        str, typer.Option(help="reviewer, event_manager, operator, data_scientist, auditor, administrator")
    ],
    password: Annotated[
        str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="Asked for when left out.")
    ],
) -> None:
    """Create a user. The password is asked for, at least 12 characters."""
    settings = load_settings()
    engine = open_store(settings, migrate=True)
    now = now_ms(make_clock(settings, engine))
    with write(engine) as connection:
        create_user(connection, username, name, password, role, now)
    typer.echo(f"user {username} created with role {role}")


@tokens_app.command("create", epilog="Example: mimamori tokens create --user core-system --name 'core system'")
def token_create(
    user: Annotated[str, typer.Option(help="Whose rights the token has.")],
    name: Annotated[str, typer.Option(help="What the token is for.")],
) -> None:
    """Create an API token and print it, this once: only its digest is stored."""
    settings = load_settings()
    engine = open_store(settings, migrate=True)
    now = now_ms(make_clock(settings, engine))
    with write(engine) as connection:
        typer.echo(create_api_token(connection, user, name, now))
