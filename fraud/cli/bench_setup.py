"""What all benches share: sizes as they were asked for, and everything in place before measuring."""

from __future__ import annotations

import json
import platform
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fraud import __version__
from fraud.cli.bench_model import bench_model, budgets_for
from fraud.cli.wiring import make_tokenizer
from fraud.errors import InvalidInputError
from fraud.settings import load_settings
from models.card_state import CARD_STATE
from streams.bench.machine import machine_facts
from streams.bench.place import Place, bench_place
from streams.bench.preparing import expose_cards, fill_topic, seed_cards
from streams.bench.sizes import BenchSize
from streams.bench.traffic import Traffic, TrafficSize
from streams.simulator import simulate

QUIET_SECONDS = 180.0  # a measuring process that says nothing for so long is given up


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything in place. `settings` are what a measuring process is told, `facts` go into the report."""

    place: Place
    traffic: Traffic
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    console: Console


@contextmanager
def prepared(size: BenchSize, *, fill: bool = True) -> Iterator[Prepared]:
    """Simulate, train, expose, seed and (with `fill`) publish; everything but the model is gone at the end."""
    _check(size)
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is put away
    folder = load_settings().data_dir / "bench"
    with bench_place(folder, size.broker, size.database, stream=size.stream) as place:
        wanted = TrafficSize(size.records, size.cards, size.exposed_share, size.seed)
        console.print(f"Simulating {wanted.simulated_cards:,} cards, each of which stands for {wanted.copies} ...")
        traffic = Traffic(simulate(wanted.parameters(), make_tokenizer(place.settings)), wanted)
        states = bench_model(place.settings, folder, traffic.simulation, console)
        policy = budgets_for(place.settings, traffic, states, size.detection_share)
        with steps(console) as bar:
            task = bar.add_task("exposing cards", total=size.exposed)
            exposed = expose_cards(place, traffic, size.exposed, lambda more: bar.advance(task, more))
            task = bar.add_task("state of cards", total=size.cards)
            cards = seed_cards(place, traffic, states)
            bar.update(task, completed=cards)
            if fill:
                task = bar.add_task("filling the topic", total=size.records)
                fill_topic(place, traffic, lambda more: bar.advance(task, more))
        settings = {**place.overrides, "policy": policy["budgets"]}
        facts = {
            "cards_with_state": cards,
            "exposed_cards": exposed,
            "simulated_cards": wanted.simulated_cards,
            "policy": policy,
            "state_bytes_per_card": CARD_STATE.itemsize,
            "partitions": place.settings.kafka.partitions,
            "max_poll_records": place.settings.stream.max_poll_records,
            "database": size.database,
            "broker": size.broker,
        }
        yield Prepared(place, traffic, settings, facts, console)


def _check(size: BenchSize) -> None:
    for option, value, low, high in (
        ("--records", size.records, 1_000, 20_000_000),
        ("--cards", size.cards, 1_000, 10_000_000),
        ("--exposed", size.exposed, 1_000, 10_000_000),
        ("--exposed-share", size.exposed_share, 0.001, 0.9),
        ("--detections", size.detection_share, 0.0001, 0.1),
    ):
        if not low <= value <= high:
            message = f"must be from {low:,} to {high:,}"
            raise InvalidInputError(message, field=option)


@contextmanager
def steps(console: Console) -> Iterator[Progress]:
    """Progress of what can be counted."""
    columns = (TextColumn("{task.description:30}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        yield bar


def head(what: str) -> dict[str, Any]:
    """The beginning of every report."""
    return {
        "bench": what,
        "mimamori": __version__,
        "command": " ".join(["mimamori", *sys.argv[1:]]),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine_facts(),
        "implementation": platform.python_implementation(),
    }


def finish(report: Mapping[str, Any], file: Path | None, console: Console) -> None:
    """Write the report where it was asked for."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        console.print(f"report: {file}")


def show(title: str, report: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """The main figures as a table on standard output; `names` are those of the report's own entries, and a unit."""
    table = Table(title=title)
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name, unit in names.items():
        value = report[name]
        text = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name.replace("_", " "), f"{text} {unit}".strip())
    Console(width=100).print(table)


def show_stages(what: str, parts: Mapping[str, float], unit: str) -> None:
    """Where it went, a part a row, as they come; what rounds to nothing is left out."""
    table = Table(title=f"by {what}, {unit}")
    table.add_column(what)
    table.add_column(unit, justify="right")
    table.add_column("share", justify="right")
    total = sum(parts.values()) or 1.0
    for name, value in parts.items():
        if abs(value) >= 0.005:
            table.add_row(name, f"{value:,.2f}", f"{value / total:.1%}")
    Console(width=100).print(table)


def log_of(place: Place, name: str) -> Path:
    """Where a measuring process logs to; gone with the bench, but its end is shown where it fails."""
    return place.folder / f"{name}.log"
