"""A schedule: one fault on a fresh topic and database, struck in the middle of seeded traffic, healed, and judged."""

from __future__ import annotations

import random
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from fault_checks import ORACLES, collect, verdicts
from fault_services import KAFKA, TANSU, Services
from fault_subject import FaultError, Member, Subject
from fault_traffic import ORDINARY, Mix, Record, make_traffic
from oracles import Readiness

BOTH: Final = (KAFKA, TANSU)


@dataclass(frozen=True, slots=True)
class Schedule:
    """One fault.

    Args:
        row: of the fault matrix; 0 for a negative control.
        name: what happens, in a few words; unique with its row.
        strike: does it; gets the run, and leaves broker and database well. Workers may still run or not.
        stacks: where it can run.
        events: transactions of the simulation; what the mix adds comes on top.
        partitions: of the topic.
        mix: what is mixed in.
        proxied: what is behind a proxy: `kafka`, `database`.
        stream: settings of the stream.
        oracles: who judges.
        leave_out: what is not compared with the reference.
        red: for a negative control: the oracles that must speak.
        smoke: whether it is one of the few that every test run includes.
        compare: whether the reference can be asked.
        resets: whether positions are moved by hand.

    """

    row: int
    name: str
    strike: Callable[[Run], None]
    stacks: tuple[str, ...] = (KAFKA,)
    events: int = 3_000
    partitions: int = 3
    mix: Mix = ORDINARY
    proxied: tuple[str, ...] = ()
    stream: Mapping[str, Any] = field(default_factory=dict)
    oracles: tuple[str, ...] = tuple(ORACLES)
    leave_out: tuple[str, ...] = ()
    red: tuple[str, ...] = ()
    smoke: tuple[str, ...] = ()
    compare: bool = True
    resets: bool = False

    @property
    def is_control(self) -> bool:
        """Whether this is a planted bug."""
        return bool(self.red)


@dataclass(slots=True)
class Outcome:
    """What came of a schedule on one stack."""

    row: int
    name: str
    stack: str
    seed: int
    passed: bool = False
    events: int = 0
    lost: int = 0
    duplicated: int = 0
    restarts: int = 0
    seconds: float = 0.0
    control: bool = False
    red: list[str] = field(default_factory=list)  # oracles that spoke
    said: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # what the schedule measured
    folder: str | None = None  # where a failed one is kept
    history: list[str] = field(default_factory=list, repr=False)  # what happened, with seconds since its start

    def as_json(self) -> dict[str, Any]:
        """As plain data, without the history."""
        return {name: value for name, value in asdict(self).items() if name != "history"}


class Run:
    """One schedule at work: what its function may use."""

    def __init__(
        self, schedule: Schedule, services: Services, stack: str, seed: int, folder: Path, share_of_events: float = 1.0
    ) -> None:
        self.schedule = schedule
        self.services = services
        self.rng = random.Random(f"{seed}:{schedule.row}:{schedule.name}:{stack}")  # noqa: S311 - reproducible on purpose
        self.problems: list[str] = []
        self.readiness: list[Readiness] = []
        self.concluded = False  # the schedule has brought itself to its end
        self.facts: dict[str, Any] = {}
        self.subject = Subject(
            services,
            stack,
            folder,
            partitions=schedule.partitions,
            proxied=schedule.proxied,
            **schedule.stream,
        )
        simulation = services.simulation
        events = round(schedule.events * share_of_events)
        first = simulation.live_from + self.rng.randrange(max(1, len(simulation.live) - events))
        columns = simulation.between(first, min(len(simulation), first + events))
        self.traffic: list[Record] = make_traffic(columns, self.rng, schedule.mix, schedule.partitions)
        self._sent = 0
        self.subject.expose(simulation)

    def publish(self, share: float = 1.0, *, behind: bool = False) -> None:
        """Publish the traffic up to a share of all of it, and wait; `behind` lets it go on while things break."""
        upto = round(share * len(self.traffic))
        part, self._sent = self.traffic[self._sent : upto], max(self._sent, upto)
        self.subject.note(f"publish {len(part)} records{' behind' if behind else ''}")
        if part:
            (self.subject.send_behind if behind else self.subject.send)(part)

    @property
    def total(self) -> int:
        """Records of the whole traffic."""
        return len(self.traffic)

    def expect(self, holds: object, what: str) -> None:
        """Note a problem unless something holds; the schedule goes on."""
        if not holds:
            self.subject.note(f"PROBLEM: {what}")
            self.problems.append(what)

    def finish(self) -> None:
        """Conclude, unless the schedule has; after a failure with a supervisor, so that what is lost can be told."""
        if self.concluded:
            return
        self.subject.restarting = bool(self.problems)
        self.conclude()

    def conclude(self) -> None:
        """Publish the rest, have a worker that runs, wait for the end of every partition, and stop in order."""
        subject = self.subject
        self.publish()
        subject.wait_until_sent()
        subject.check()
        if not subject.running:
            subject.start()
        subject.wait_until_idle()
        subject.restarting = False
        for member in list(subject.running):
            took = subject.stop(member)
            self.facts["longest_stop_seconds"] = round(max(took, self.facts.get("longest_stop_seconds", 0.0)), 1)


def execute(
    schedule: Schedule, services: Services, stack: str, seed: int, folder: Path, *, share_of_events: float = 1.0
) -> Outcome:
    """Run a schedule and judge it. What a failed one leaves behind stays in `folder`."""
    started = time.monotonic()
    outcome = Outcome(schedule.row, schedule.name, stack, seed, control=schedule.is_control)
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(schedule, services, stack, seed, folder, share_of_events)
    try:
        _strike(run)
        said = _judge(run, outcome)
    except FaultError as error:  # the evidence itself cannot be had
        said = {"O7": str(error)}
    outcome.said = said
    outcome.red = list(outcome.said)
    outcome.events = run.subject.published
    outcome.restarts, outcome.facts = run.subject.restarts, run.facts
    outcome.passed = set(schedule.red) <= set(outcome.red) if schedule.is_control else not outcome.red
    outcome.seconds = round(time.monotonic() - started, 1)
    run.subject.note(f"judged: {', '.join(outcome.red) or 'nothing'} wrong")
    outcome.history = run.subject.history
    _put_away(run, outcome, folder)
    return outcome


def _strike(run: Run) -> None:
    """The fault, the healing, and the way to the end; that is tried even where the fault did not go as it must."""
    for step in (run.schedule.strike, Run.finish):
        try:
            step(run)
        except FaultError as error:
            run.subject.note(f"FAILED: {error}")
            run.problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - a schedule that breaks is a failed one, and the others go on
            run.subject.note(traceback.format_exc())
            run.problems.append(f"{type(error).__name__}: {error}")
        finally:
            run.services.heal()
            run.subject.heal()
    for member in run.subject.running:
        run.subject.kill(member)


def _judge(run: Run, outcome: Outcome) -> dict[str, str]:
    schedule = run.schedule
    try:
        evidence = collect(run.subject, compare=schedule.compare, leave_out=schedule.leave_out, resets=schedule.resets)
    except Exception as error:  # noqa: BLE001 - whatever it is, the schedule cannot be judged
        run.subject.note(traceback.format_exc())
        return {"O7": "; ".join([*run.problems, f"no evidence: {type(error).__name__}: {error}"])}
    run.subject.note("evidence collected")
    evidence.problems, evidence.readiness = run.problems, run.readiness
    outcome.lost, outcome.duplicated = evidence.lost_and_duplicated()
    return verdicts(evidence, schedule.oracles)


def _put_away(run: Run, outcome: Outcome, folder: Path) -> None:
    """Keep what a failed schedule leaves behind: its history, logs and a dump of its database; else nothing."""
    subject = run.subject
    if outcome.passed:
        url = subject.settings.database_url.get_secret_value()
        subject.close()
        run.services.drop_database(url)
        shutil.rmtree(folder, ignore_errors=True)
        return
    outcome.folder = str(folder)
    lines = [*subject.history, "", *(f"{name}: {text}" for name, text in outcome.said.items())]
    (folder / "history.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dump_database(subject, folder / "database")
    subject.close()


def dump_database(subject: Subject, folder: Path) -> None:
    """Every table as JSON lines."""
    import json

    from sqlalchemy import inspect, text

    folder.mkdir(exist_ok=True)
    with subject.engine.connect() as connection:
        for table in inspect(subject.engine).get_table_names():
            rows = connection.execute(text(f'SELECT * FROM "{table}"'))  # noqa: S608
            lines = (json.dumps(dict(row._mapping), default=repr) for row in rows)
            (folder / f"{table}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def member_of(members: Sequence[Member], name: str) -> Member:
    """The newest member of a name."""
    return next(member for member in reversed(members) if member.name.startswith(f"{name}-"))
