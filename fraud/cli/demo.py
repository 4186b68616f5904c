"""`mimamori demo`: the notice's story, from history to scorecard, on embedded parts."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fraud.cli.demo_run import DemoRun
from fraud.cli.processes import child, wait_until_up
from fraud.cli.wiring import open_store
from fraud.errors import InvalidInputError
from fraud.settings import PREFIX, load_settings
from fraud.store.database import write
from fraud.store.people import create_user
from streams.embedded import embedded_broker, free_port
from streams.kafka import create_topics
from streams.simulator import SimulationParameters

_USER = "demo"


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="No console; full speed; ends by itself.")] = False,
    report: Annotated[Path | None, typer.Option(help="Where to write the scorecard as JSON.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another story.")] = 1,
    abuse_share: Annotated[float, typer.Option(help="Share of the exposed cards that thieves use.")] = 0.08,
    cards: Annotated[int, typer.Option(help="Size of the portfolio.")] = 6_000,
    days: Annotated[int, typer.Option(help="Days after the alert to play.", min=1)] = 60,
    pace: Annotated[float, typer.Option(help="Seconds that a simulated day takes.", min=0)] = 4.0,
    port: Annotated[int, typer.Option(help="Port of the console; 0 takes a free one.")] = 8470,
) -> None:
    """Play the story of a skimmed shop: 60 days of history, a trained model, an alert, and the days after.

    Starts a broker, a worker and the console on this machine, shows progress, and prints where to look. Ctrl-C ends
    everything. With --headless it plays at full speed and exits with the scorecard.

    Examples:
      mimamori demo
      mimamori demo --headless --report scorecard.json --seed 7 --abuse-share 0.05

    """
    if not 0 <= abuse_share <= 1:
        message = "must be between 0 and 1"
        raise InvalidInputError(message, field="--abuse-share")
    parameters = SimulationParameters(seed=seed, cards=cards, abuse_share=abuse_share, story_days=days)
    console = Console(stderr=headless)
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with signals ignored
        signal.signal(signal_number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), _workplace(headless) as folder:
        console.print("[bold]Mimamori[/bold] demo: everything runs on this machine and ends with Ctrl-C.")
        with _parts(folder, port, headless=headless, console=console) as (environment, address):
            run = DemoRun(load_settings(), environment, parameters, folder, console)
            run.prepare()
            with _console_server(environment, folder, address, console):
                run.play(pace=pace if address else 0.0)
                result = run.scorecard()
                if report:
                    report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
                for sentence in run.sentences(result):
                    console.print(f"  {sentence}")
                if headless:
                    typer.echo(json.dumps(result, indent=2))
                else:
                    console.print(
                        f"\nThe story has ended. The console stays open at [bold]{address}[/bold] until Ctrl-C."
                    )
                    signal.pause()


@contextlib.contextmanager
def _workplace(headless: bool) -> Iterator[Path]:
    """A folder of its own, new for each demo. Headless leaves nothing behind."""
    if headless:
        with tempfile.TemporaryDirectory(prefix="mimamori-demo-") as temporary:
            yield Path(temporary)
        return
    folder = Path(".mimamori/demo").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder


@contextlib.contextmanager
def _parts(
    folder: Path, port: int, *, headless: bool, console: Console
) -> Iterator[tuple[Mapping[str, str], str | None]]:
    """Broker, topics, database and a user; the settings go to this process and its children as variables."""
    with embedded_broker(folder / "logs" / "broker.log") as bootstrap:
        api_port = port or free_port()
        environment = {
            f"{PREFIX}DATA_DIR": str(folder / "data"),
            f"{PREFIX}DATABASE_URL": f"sqlite:///{folder / 'mimamori.db'}",
            f"{PREFIX}CLOCK": "stream",
            f"{PREFIX}KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            f"{PREFIX}KAFKA__SESSION_TIMEOUT_MS": "6000",
            f"{PREFIX}KAFKA__PARTITIONS": "4",
            f"{PREFIX}PORTFOLIO__BIN_RANGES": '["453201"]',
            f"{PREFIX}CARDS__KEYS": json.dumps({"1": secrets.token_hex(32)}),
            f"{PREFIX}POLICY__ALERTS_PER_DAY": "3",
            f"{PREFIX}POLICY__EXPOSED_ALERTS_PER_1000_CARD_DAYS": "0.8",
            f"{PREFIX}API__PORT": str(api_port),
            f"{PREFIX}API__SECURE_COOKIES": "false",
        }
        os.environ.update(environment)
        settings = load_settings()
        create_topics(settings.kafka)
        password = secrets.token_urlsafe(12)
        with write(open_store(settings, migrate=True)) as connection:
            create_user(connection, _USER, "Demo reviewer", password, "reviewer", int(time.time() * 1000))
        if headless:
            yield environment, None
            return
        address = f"http://{settings.api.host}:{api_port}"
        console.print(
            f"\n  Console:  [bold]{address}[/bold]\n  Login:    [bold]{_USER}[/bold] / [bold]{password}[/bold]\n"
        )
        yield environment, address


@contextlib.contextmanager
def _console_server(
    environment: Mapping[str, str], folder: Path, address: str | None, console: Console
) -> Iterator[None]:
    """The API and console at `address` for as long as the context lasts; nothing when there is none."""
    if address is None:
        yield
        return
    log_file = folder / "logs" / "api.log"
    with child(["api"], environment, log_file) as api:
        wait_until_up(f"{address}/healthz/live", api, log_file)
        console.print(f"The console is up: [bold]{address}[/bold]")
        yield
