"""`mimamori api` and `mimamori database`."""

from __future__ import annotations

import typer
import uvicorn
from fastapi import FastAPI

from fraud.api.app import create_app
from fraud.cli.wiring import make_clock, open_store
from fraud.console.app import install_console
from fraud.logs import configure_logging
from fraud.pan_guard import PanGuard
from fraud.settings import Settings, load_settings
from fraud.store.database import current_revision, head_revision

database_app = typer.Typer(help="The database.", no_args_is_help=True)


@database_app.command("upgrade")
def database_upgrade() -> None:
    """Bring the database to the newest revision; makes it when it is not there."""
    engine = open_store(load_settings(), migrate=True)
    typer.echo(f"database is at revision {current_revision(engine)}")


@database_app.command("status")
def database_status() -> None:
    """Print the database's revision and the newest one. Exit code 1 when they differ."""
    engine = open_store(load_settings())
    current, head = current_revision(engine), head_revision()
    typer.echo(f"database: {current or 'empty'}, newest: {head}")
    if current != head:
        raise typer.Exit(1)


def build_app(settings: Settings) -> FastAPI:
    """The API with the console on it."""
    engine = open_store(settings, migrate=True)
    app = create_app(settings, engine, make_clock(settings, engine), PanGuard.from_settings(settings.portfolio))
    install_console(app)
    return app


def api() -> None:
    """Serve the API and the console. Ends on SIGTERM and Ctrl-C."""
    configure_logging()
    settings = load_settings()
    uvicorn.run(
        build_app(settings),
        host=settings.api.host,
        port=settings.api.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
