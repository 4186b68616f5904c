"""`mimamori bench`: what the stream costs and how quick it is, measured on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fraud.settings import StreamSettings
from streams.bench.sizes import BenchSize

app = typer.Typer(
    help="Measure throughput, latency and restart. Everything is thrown away at the end.", no_args_is_help=True
)


class BrokerKind(StrEnum):
    """Which broker a bench runs beside."""

    TANSU = "tansu"
    KAFKA = "kafka"


class DatabaseKind(StrEnum):
    """Which database a bench runs beside."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


Broker = Annotated[
    BrokerKind, typer.Option(help="tansu: embedded, started here. kafka: the one at kafka.bootstrap_servers.")
]
Database = Annotated[
    DatabaseKind, typer.Option(help="sqlite: a file. postgresql: the one at database_url; it must be empty.")
]
Report = Annotated[Path | None, typer.Option(help="Where to write the report as JSON.")]
Cards = Annotated[int, typer.Option(help="Cards with state; the traffic is spread over all of them.")]
Exposed = Annotated[int, typer.Option(help="Exposed cards; most of them are not in the traffic.")]
ExposedShare = Annotated[float, typer.Option(help="Share of the records that are on exposed cards.")]
Detections = Annotated[float, typer.Option(help="Share of records that become detections; budgets are set for it.")]
Seed = Annotated[int, typer.Option(help="Another seed is another portfolio and model.")]


@app.command("stream")
def stream(
    records: Annotated[int, typer.Option(help="Records to process; the topic is filled with them once.")] = 1_000_000,
    broker: Broker = BrokerKind.TANSU,
    database: Database = DatabaseKind.SQLITE,
    report: Report = None,
    cards: Cards = 1_000_000,
    exposed: Exposed = 2_000_000,
    exposed_share: ExposedShare = 0.05,
    detections: Detections = 0.005,
    seed: Seed = 1,
    core: Annotated[int | None, typer.Option(help="The core to pin to; the last one by default.")] = None,
) -> None:
    """Processor time of a record: the client's `poll()` alone, and the whole worker, each pinned to one core.

    Times count all threads of the process. Servers are counted apart. By stage, with what could not be attributed.

    Examples:
      mimamori bench stream --records 1000000 --report stream.json
      mimamori bench stream --broker kafka --database postgresql --report stream.json
      mimamori bench stream --records 20000 --cards 50000 --exposed 50000

    """
    from fraud.cli.bench_stream import run

    usual: int = StreamSettings().checkpoint_records
    settings = {"checkpoint_records": min(usual, max(1, records // 4))}  # at least three checkpoints
    size = _size(broker, database, records, cards, exposed, exposed_share, detections, seed)
    run(size.with_stream(settings), core, report)


@app.command("latency")
def latency(
    rate: Annotated[float, typer.Option(help="Records a second.", min=1)] = 10_000,
    seconds: Annotated[float, typer.Option(help="How long to measure.", min=1, max=3_600)] = 60,
    warm_up: Annotated[float, typer.Option(help="Seconds before that, sent and not measured.", min=0)] = 10,
    broker: Broker = BrokerKind.TANSU,
    database: Database = DatabaseKind.SQLITE,
    report: Report = None,
    cards: Cards = 200_000,
    exposed: Exposed = 200_000,
    exposed_share: ExposedShare = 0.05,
    detections: Detections = 0.005,
    seed: Seed = 1,
) -> None:
    """Time from the broker's append of a record to the commit of its effects, at a steady rate.

    The producer is a process of its own that sends on a fixed schedule, whatever the worker does. Times from the
    intended moment of sending are reported too.

    Examples:
      mimamori bench latency --rate 10000 --seconds 60 --report latency.json
      mimamori bench latency --rate 500 --seconds 5 --warm-up 2 --cards 20000 --exposed 20000

    """
    from fraud.cli.bench_latency import run

    run(
        _size(broker, database, 0, cards, exposed, exposed_share, detections, seed),
        rate,
        seconds,
        warm_up,
        report,
    )


@app.command("restart")
def restart(
    cards: Cards = 1_000_000,
    tail: Annotated[int, typer.Option(help="Records between the checkpoint and the position.", min=1_000)] = 150_000,
    broker: Broker = BrokerKind.TANSU,
    database: Database = DatabaseKind.SQLITE,
    report: Report = None,
    exposed: Exposed = 200_000,
    exposed_share: ExposedShare = 0.05,
    detections: Detections = 0.005,
    seed: Seed = 1,
) -> None:
    """Seconds from the assignment of the partitions to the first new record, after a crash.

    A worker processes the tail and is killed, without a checkpoint. The next one loads the state of all cards, reads
    the tail again in silence, and goes on.

    Examples:
      mimamori bench restart --cards 1000000 --tail 150000 --report restart.json
      mimamori bench restart --cards 20000 --tail 5000 --exposed 20000

    """
    from fraud.cli.bench_restart import run

    run(_size(broker, database, 0, cards, exposed, exposed_share, detections, seed), tail, report)


def _size(
    broker: BrokerKind,
    database: DatabaseKind,
    records: int,
    cards: int,
    exposed: int,
    exposed_share: float,
    detections: float,
    seed: int,
) -> BenchSize:
    return BenchSize(broker.value, database.value, records, cards, exposed, exposed_share, detections, seed)
