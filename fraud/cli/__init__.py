"""The `mimamori` command: the composition root, the only place that wires everything together."""

from __future__ import annotations

import sys

import typer

from fraud import __version__
from fraud.cli import (
    archive,
    cards,
    checkpoints,
    config,
    dead_letters,
    demo,
    exposure,
    jobs,
    people,
    positions,
    reconcile,
    replay,
    report,
    serve,
    stream,
    training,
)
from fraud.errors import MimamoriError

app = typer.Typer(
    name="mimamori",
    help="Card-fraud transaction monitoring for issuers: Kafka in, well-explained cases out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Start here: [bold]mimamori demo[/bold]. Settings: [bold]mimamori config show[/bold].",
)
app.add_typer(config.app, name="config")
app.add_typer(cards.app, name="cards")
app.add_typer(archive.app, name="archive")
app.add_typer(stream.topics_app, name="topics")
app.add_typer(exposure.app, name="exposure")
app.add_typer(training.models_app, name="models")
app.add_typer(people.users_app, name="users")
app.add_typer(people.tokens_app, name="tokens")
app.add_typer(serve.database_app, name="database")
app.add_typer(replay.app, name="replay")
app.add_typer(report.app, name="report")
app.add_typer(training.app, name="train")
app.add_typer(positions.app, name="positions")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(jobs.app, name="jobs")
app.command("reconcile", epilog="Example: mimamori reconcile --json")(reconcile.reconcile)
app.command("worker")(stream.worker)
app.command("broker")(stream.broker)
app.command("api")(serve.api)
app.command("demo")(demo.demo)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line. Our own errors become one line on standard error and exit code 2 (bad input) or 1."""
    try:
        app()
    except MimamoriError as error:
        field = getattr(error, "field", None)
        typer.echo(f"mimamori: {f'{field}: ' if field else ''}{error}", err=True)
        sys.exit(2 if error.status == 422 or error.code == "CONFIGURATION" else 1)
