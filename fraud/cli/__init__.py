"""The `mimamori` command: the composition root, the only place that wires everything together."""

from __future__ import annotations

import sys
from typing import Final

import typer

from fraud import __version__
from fraud.cli.lazy import LazyCommand, lazy_group, register
from fraud.errors import MimamoriError

# In the order of the list that `mimamori --help` shows. Nothing named here is imported before it is called.
COMMANDS: Final = (
    LazyCommand(
        "reconcile",
        "fraud.cli.reconcile:reconcile",
        "Read the log up to each position and compare: records = processed + dead letters + duplicates + quarantined.",
        epilog="Example: mimamori reconcile --json",
    ),
    LazyCommand(
        "worker",
        "fraud.cli.stream:worker",
        "Consume card transactions: match, score, decide, and record cases. Ends cleanly on SIGTERM and Ctrl-C.",
    ),
    LazyCommand(
        "broker",
        "fraud.cli.stream:broker",
        "Run the embedded Kafka-protocol broker, for trying things out. What it holds is gone when it ends (Ctrl-C).",
    ),
    LazyCommand("api", "fraud.cli.serve:api", "Serve the API and the console. Ends on SIGTERM and Ctrl-C."),
    LazyCommand(
        "demo",
        "fraud.cli.demo:demo",
        "Play the story of a skimmed shop: 60 days of history, a trained model, an alert, and the days after.",
    ),
    LazyCommand("config", "fraud.cli.config:app", "The effective settings."),
    LazyCommand(
        "cards", "fraud.cli.cards:app", "Card references, and what the issuer's card system says of its cards."
    ),
    LazyCommand("archive", "fraud.cli.archive:app", "The archive of transactions."),
    LazyCommand("topics", "fraud.cli.stream:topics_app", "Topics."),
    LazyCommand("imports", "fraud.cli.imports:app", "Imports of exposed cards."),
    LazyCommand("exposure", "fraud.cli.exposure:app", "Compromise events and exposed cards."),
    LazyCommand(
        "lookback", "fraud.cli.lookback:app", "Look-back: what was spent on exposed cards before they were known."
    ),
    LazyCommand(
        "watchlist", "fraud.cli.watchlist:app", "The watch list: what others are asked to do with exposed cards."
    ),
    LazyCommand("models", "fraud.cli.training:models_app", "The model registry."),
    LazyCommand("users", "fraud.cli.people:users_app", "People who may log in to the console."),
    LazyCommand("tokens", "fraud.cli.people:tokens_app", "Tokens for machines that call the API."),
    LazyCommand("database", "fraud.cli.serve:database_app", "The database."),
    LazyCommand("replay", "fraud.cli.replay:app", "Publish recorded transactions to the topic."),
    LazyCommand("report", "fraud.cli.report:app", "Reports."),
    LazyCommand("train", "fraud.cli.training:app", "Train a model."),
    LazyCommand("positions", "fraud.cli.positions:app", "Positions: where each partition's effects have got to."),
    LazyCommand("dead-letters", "fraud.cli.dead_letters:app", "Dead letters: records that could not be processed."),
    LazyCommand("checkpoints", "fraud.cli.checkpoints:app", "Checkpoints: snapshots that a restart begins from."),
    LazyCommand("state", "fraud.cli.state:app", "State: what the stream remembers of each card."),
    LazyCommand("jobs", "fraud.cli.jobs:app", "Jobs: what is neither stream nor request, such as the relay."),
    LazyCommand(
        "bench",
        "fraud.cli.bench:app",
        "Measure throughput, latency and restart. Everything is thrown away at the end.",
    ),
)

app = typer.Typer(
    name="mimamori",
    help="Card-fraud transaction monitoring for issuers: Kafka in, well-explained cases out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Start here: [bold]mimamori demo[/bold]. Settings: [bold]mimamori config show[/bold].",
    cls=lazy_group(COMMANDS),
)
register(app, COMMANDS)


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
