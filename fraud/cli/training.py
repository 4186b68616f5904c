"""`mimamori train` and `mimamori models`: for data scientists."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Engine

from fraud.cli.options import parse_day
from fraud.cli.wiring import open_store
from fraud.clock import now_ms
from fraud.codes import country_numbers
from fraud.settings import Settings, load_settings
from fraud.store.records import PartitionKey
from fraud.transactions import Columns
from models.bundle import save_bundle
from models.datasets import read_handbook
from models.registry import champion, list_models, set_champion
from models.state import CardStates
from models.training import TrainedModel, TrainingSettings, train
from streams.kafka import topic_id
from streams.seeding import seed_state
from streams.snapshots import Snapshots

app = typer.Typer(help="Train a model.", no_args_is_help=True)
models_app = typer.Typer(help="The model registry.", no_args_is_help=True)


@app.callback()
def _train() -> None:
    """Train a model on labelled history."""


@app.command("handbook", epilog="Example: mimamori train handbook --data DIR --from 2018-06-01 --to 2018-07-24")
def train_handbook(
    data: Annotated[Path, typer.Option(help="Folder of the Fraud Detection Handbook's transactions.", exists=True)],
    from_day: Annotated[str, typer.Option("--from", help="First day.", metavar="DATE")],
    to_day: Annotated[str, typer.Option("--to", help="Last day, inclusive.", metavar="DATE")],
    warm_start: Annotated[
        bool, typer.Option(help="Give the workers the cards' state at the end of these days to start from.")
    ] = True,
) -> None:
    """Train on the handbook's simulated transactions and make the result the champion."""
    settings = load_settings()
    columns, labels, known_at = read_handbook(data, parse_day(from_day, "--from"), parse_day(to_day, "--to"))
    trained, states = train_with_progress(settings, columns, labels, TrainingSettings(refit=True), known_at)
    digest = publish_model(settings, trained, "handbook")
    typer.echo(f"model {digest[:12]} is the champion")
    if warm_start:
        warm_workers(settings, open_store(settings, migrate=True), columns, states)
        typer.echo(f"state of {len(states):,} cards is registered as the workers' starting point")


def train_with_progress(
    settings: Settings,
    columns: Columns,
    labels: NDArray[np.int8],
    how: TrainingSettings,
    known_at: NDArray[np.int64] | None = None,
) -> tuple[TrainedModel, CardStates]:
    """Train with a progress bar on the terminal; also the cards' state after the last event."""
    states = CardStates()
    with Progress(
        TextColumn("{task.description:42}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("training", total=1.0)

        def progress(step: str, share: float) -> None:
            bar.update(task, description=step, completed=share)

        trained = train(
            columns,
            labels,
            label_known_at=known_at,
            home_country=country_numbers()[settings.portfolio.home_country],
            timezone=settings.portfolio.timezone,
            states=states,
            settings=how,
            progress=progress,
        )
    return trained, states


def publish_model(settings: Settings, trained: TrainedModel, name: str) -> str:
    """Store the bundle and make it the champion; its digest."""
    now = now_ms()
    bundle = save_bundle(trained, settings.models_dir, name=name, created_at=now)
    set_champion(settings.models_dir, bundle.digest)
    return bundle.digest


def warm_workers(settings: Settings, engine: Engine, columns: Columns, states: CardStates) -> None:
    """Register the state after `columns` as the starting point of each partition of the transactions topic."""
    kafka = settings.kafka
    identity = topic_id(kafka, kafka.transactions_topic)
    keys = [
        PartitionKey(kafka.group_id, identity, kafka.transactions_topic, number) for number in range(kafka.partitions)
    ]
    latest = int(columns["occurred_at"].max())
    seed_state(Snapshots.from_settings(settings, engine), keys, columns, states, latest)


@models_app.command("list")
def models_list() -> None:
    """List the models in the registry; the champion is marked."""
    settings = load_settings()
    best = champion(settings.models_dir)
    table = Table("model", "name", "", "made (UTC)", "rows", "frauds", "AUC ROC", "average precision", "card precision")
    for model in list_models(settings.models_dir):
        facts: Mapping[str, Any] = model.manifest
        metrics = facts["metrics"].get("probability") or facts["metrics"]["anomaly"]
        table.add_row(
            model.digest[:12],
            facts["name"],
            "champion" if model.digest == best else "",
            f"{datetime.fromtimestamp(facts['created_at'] / 1000, UTC):%Y-%m-%d %H:%M}",
            f"{facts['data']['training_rows']:,}",
            f"{facts['labels']['training_positives']:,}",
            *(_figure(metrics.get(name)) for name in ("auc", "average_precision", "card_precision_100")),
        )
    Console(width=150).print(table)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
