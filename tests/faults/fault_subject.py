"""What a schedule is run against: a topic, a database and worker processes; what happens to them is written down."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_history import install_history, read_history
from fault_launcher import Process
from fault_proxy import FINE, Proxy
from fault_services import KAFKA, Services
from fault_traffic import MAX_RECORD_BYTES, Record
from sqlalchemy import func, make_url, select
from sqlalchemy.exc import SQLAlchemyError
from worker_support import Deployment

from fraud.settings import PREFIX
from fraud.store.database import read
from fraud.store.tables import position
from streams.embedded import free_port
from streams.kafka import make_producer
from streams.log_reading import LogReader, open_log

STOP_SECONDS = 25.0  # promised: SIGTERM ends a worker within that time
PATIENCE = 90.0  # seconds; nothing passes by being quick, but nothing waits for ever


class FaultError(AssertionError):
    """A schedule did not go as it must: a worker ended by itself, or something never came about."""


@dataclass(slots=True)
class Member:
    """One worker process."""

    name: str
    process: Process
    port: int
    mark: Path
    expected_end: bool = False  # a crash point will end it, or the schedule has

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None


@dataclass(slots=True)
class Published:
    """What a producer knows of its records: acknowledged ones with their place, and those that it cannot tell of."""

    acknowledged: dict[tuple[int, int], Record] = field(default_factory=dict)
    unknown: list[Record] = field(default_factory=list)


class Subject(Deployment):
    """A deployment whose workers are processes with crash points, and may sit behind proxies.

    Args:
        services: broker and database.
        stack: which pair of them.
        folder: for data, logs and marks.
        partitions: of the topic.
        proxied: `kafka` and `database` put proxies between the workers and these.
        stream: settings of the stream.

    """

    def __init__(
        self,
        services: Services,
        stack: str,
        folder: Path,
        *,
        partitions: int = 3,
        proxied: Sequence[str] = (),
        **stream: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.services, self.stack = services, stack
        self.started_at = time.monotonic()
        self.history: list[str] = []
        self.sent = Published()
        self.published_by_others = 0  # records that a command put on the topic
        self.deleted: set[tuple[int, int]] = set()  # places whose records were deleted from the log, on purpose
        self.members: list[Member] = []
        self.restarts = 0
        self.restarting = False  # whether a supervisor starts ended workers again
        self.environment: dict[str, str] = {}
        self.armed = folder / "armed"
        self.database_proxy: Proxy | None = None
        self._closing = contextlib.ExitStack()
        self._numbers: dict[str, int] = {}
        self._publishing: list[threading.Thread] = []
        self._sending = threading.Lock()
        url = services.new_database(stack, folder)
        options = {"max_poll_records": 50, "checkpoint_seconds": 1.0, "max_record_bytes": MAX_RECORD_BYTES}
        super().__init__(services.kafka_settings(stack, partitions), url, folder, **(options | stream))
        install_history(self.engine)
        shutil.copytree(services.models_dir, self.settings.models_dir)
        if "database" in proxied:
            port = make_url(url).port
            assert port is not None
            self.database_proxy = self._closing.enter_context(Proxy(port))
            self.environment[f"{PREFIX}DATABASE_URL"] = url.replace(f":{port}/", f":{self.database_proxy.port}/")
        if "kafka" in proxied:
            services.kafka_proxy.set()
            self.environment[f"{PREFIX}KAFKA__BOOTSTRAP_SERVERS"] = f"127.0.0.1:{services.kafka.proxy_port}"

    def close(self) -> None:
        """End what still runs and leave the database."""
        for member in self.members:
            if not member.ended:
                member.process.kill()
                member.process.wait()
        for thread in self._publishing:
            thread.join(PATIENCE)
        self._closing.close()
        super().close()

    def heal(self) -> None:
        """Fine weather on the way to the database."""
        if self.database_proxy is not None and self.database_proxy.weather != FINE:
            self.database_proxy.set(FINE, reset=True)

    def note(self, what: str) -> None:
        """Write down what happens, with its time."""
        self.history.append(f"{time.monotonic() - self.started_at:8.2f}  {what}")

    # --- records ------------------------------------------------------------------------------------------------------

    def send(self, records: Sequence[Record]) -> None:
        """Publish records in their order and remember what the broker said of each."""
        with self._sending, contextlib.closing(make_producer(self.settings.kafka)) as producer:
            topic = self.settings.kafka.transactions_topic
            waiting = [
                (record, producer.send(topic, key=record.key, value=record.value, partition=record.partition))
                for record in records
            ]
            for record, acknowledgement in waiting:
                try:
                    where = acknowledgement.get(timeout=PATIENCE)
                except Exception as error:  # noqa: BLE001 - whatever it is, the producer cannot tell
                    self.note(f"no acknowledgement: {type(error).__name__}")
                    self.sent.unknown.append(record)
                else:
                    self.sent.acknowledged[where.partition, where.offset] = record
        self.published += len(records)

    def send_behind(self, records: Sequence[Record]) -> None:
        """The same in a thread of its own, so that it goes on while things break."""
        thread = threading.Thread(target=self.send, args=(records,), name="publishing", daemon=True)
        thread.start()
        self._publishing.append(thread)

    def wait_until_sent(self) -> None:
        """Wait for what goes on behind."""
        for thread in self._publishing:
            thread.join(PATIENCE * 2)
            if thread.is_alive():
                message = "the producer has not ended"
                raise FaultError(message)
        self._publishing.clear()

    # --- workers ------------------------------------------------------------------------------------------------------

    def start(
        self,
        name: str = "worker",
        *,
        point: str | None = None,
        passing: int = 1,
        how: str = "kill",
        armed: bool = False,
        bug: str | None = None,
        environment: dict[str, str] | None = None,
        limits: dict[str, int] | None = None,
    ) -> Member:
        """Start a worker process, perhaps with a crash point (which counts once `arm` was called) or a planted bug."""
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        full = f"{name}-{number}"
        port, mark = free_port(), self.folder / f"{full}.mark"
        own = self._environment() | self.environment | (environment or {})
        own[f"{PREFIX}MONITORING__PORT"] = str(port)
        if point is not None:
            own |= {"FAULT_POINT": point, "FAULT_PASSING": str(passing), "FAULT_HOW": how, "FAULT_MARK": str(mark)}
            if armed:
                own["FAULT_ARMED"] = str(self.armed)
        if bug is not None:
            own |= {"FAULT_BUG": bug, "FAULT_MARK": str(mark), "FAULT_ARMED": str(self.armed)}

        process = self.services.launcher.start(["worker", "--json-logs"], own, self.folder, self.log_file(full), limits)
        member = Member(full, process, port, mark, expected_end=point is not None and how == "kill")
        self.members.append(member)
        self.note(f"start {full}" + (f": {how} at {point!r}, passing {passing}" if point else ""))
        return member

    def arm(self) -> None:
        """From now on the passings of crash points count."""
        self.armed.touch()
        self.note("armed")

    def kill(self, member: Member) -> None:
        """`kill -9`."""
        member.expected_end = True
        member.process.kill()
        member.process.wait()
        self.note(f"kill -9 {member.name}")

    def pause(self, member: Member) -> None:
        """SIGSTOP."""
        member.process.send_signal(signal.SIGSTOP)
        self.note(f"SIGSTOP {member.name}")

    def go_on(self, member: Member) -> None:
        """SIGCONT."""
        member.process.send_signal(signal.SIGCONT)
        self.note(f"SIGCONT {member.name}")

    def stop(self, member: Member, *, codes: Sequence[int] = (0,), signals: int = 1) -> float:
        """SIGTERM; it must end with one of the codes, in time. The seconds that it took."""
        member.expected_end = True
        started = time.monotonic()
        self.note(f"SIGTERM {member.name}" + (" twice" if signals > 1 else ""))
        for number in range(signals):
            if number:
                time.sleep(0.2)
            with contextlib.suppress(ProcessLookupError):
                member.process.send_signal(signal.SIGTERM)
        try:
            code = member.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            member.process.kill()
            member.process.wait()
            message = f"{member.name} did not end within {STOP_SECONDS:.0f} s of SIGTERM"
            raise FaultError(message) from None
        took = time.monotonic() - started
        self.note(f"{member.name} ended with code {code} after {took:.1f} s")
        if code == -signal.SIGTERM and not self.said(member, "worker started"):
            return took  # it had not begun: the system ends it, and nothing was in hand
        if code not in codes:
            message = f"{member.name} ended with code {code} on SIGTERM"
            raise FaultError(f"{message}:\n{self.tail(member)}")
        return took

    def wait_for_strike(self, member: Member, seconds: float = PATIENCE) -> None:
        """Wait until a crash point has struck, and (where it kills) until the process is gone."""
        self.wait(member.mark.exists, f"{member.name} passes its crash point", seconds)
        self.note(f"struck: {member.mark.read_text(encoding='utf-8').strip()}")
        if member.expected_end:
            code = member.process.wait(10)
            if code != -signal.SIGKILL:
                message = f"{member.name} should have died of its crash point, and ended with {code}"
                raise FaultError(message)

    @property
    def running(self) -> list[Member]:
        """Members that have not ended."""
        return [member for member in self.members if not member.ended]

    def check(self) -> None:
        """Nobody has ended who was not meant to; a supervisor starts them again where there is one."""
        for member in self.members:
            if member.ended and not member.expected_end:
                code = member.process.returncode
                if not self.restarting:
                    message = f"{member.name} ended by itself with code {code}:\n{self.tail(member)}"
                    raise FaultError(message)
                member.expected_end = True
                self.restarts += 1
                self.note(f"{member.name} ended by itself with code {code}: {self.last_words(member)}")
                if self.restarts > 60:
                    message = "the workers end again and again"
                    raise FaultError(message)
                self.start(member.name.rpartition("-")[0])

    def tail(self, member: Member, size: int = 2_000) -> str:
        """The end of a member's log."""
        return self._log_of(member)[-size:]

    def last_words(self, member: Member) -> str:
        """The last line of a member's log."""
        return (self.tail(member).splitlines() or [""])[-1][:300]

    def said(self, member: Member, text: str) -> bool:
        """Whether a member's log has a text."""
        return text in self._log_of(member)

    def _log_of(self, member: Member) -> str:
        file = self.log_file(member.name)
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def probe(self, member: Member, what: str) -> bool | None:
        """`live` or `ready`; None while the probe does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{member.port}/healthz/{what}", timeout=6) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False
        except OSError:
            return None

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait(self, holds: Callable[[], Any], what: str, seconds: float = PATIENCE, *, check: bool = True) -> None:
        """Wait until something holds; `FaultError` when it does not come about, or a worker has ended by itself."""
        deadline = time.monotonic() + seconds
        while not holds():
            if check:
                self.check()
            if time.monotonic() >= deadline:
                message = f"waited {seconds:.0f} s in vain until {what}"
                raise FaultError(message)
            time.sleep(0.02)

    def idle(self, seconds: float) -> None:
        """Let time pass that the fault lasts, and watch the members meanwhile."""
        self.note(f"for {seconds:.1f} s")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            time.sleep(0.05)

    def accounted(self) -> int:
        """Records below the positions; while the database is away: none are known."""
        own = position.c.group_id == self.settings.kafka.group_id
        try:
            with read(self.engine) as connection:
                return int(connection.execute(select(func.sum(position.c.next_offset)).where(own)).scalar() or 0)
        except SQLAlchemyError:
            return 0

    def wait_for(self, records: int, seconds: float = PATIENCE) -> None:
        """Wait until so many records are accounted for."""
        self.wait(lambda: self.accounted() >= records, f"{records} records are accounted for", seconds)
        self.note(f"{self.accounted()} of {self.published} records are accounted for")

    def wait_for_share(self, share: float, seconds: float = PATIENCE) -> None:
        """Wait until a share of what is published is accounted for."""
        self.wait_for(int(share * self.published), seconds)

    def lags(self) -> dict[int, int]:
        """How far each partition is behind the end of its log."""
        kafka = self.settings.kafka
        at = self.positions()
        with open_log(kafka) as log:
            ends = {number: log.bounds(kafka.transactions_topic, number)[1] for number in self._partitions(log)}
        return {number: end - (at[number].next_offset if number in at else 0) for number, end in ends.items()}

    def wait_until_idle(self, seconds: float = PATIENCE * 1.5) -> None:
        """Wait until every partition has reached the end of its log."""
        if self.sent.unknown or self.published_by_others:  # then only the broker knows how much there is
            self.wait(lambda: not any(self.lags().values()), "every partition has lag 0", seconds)
        else:
            self.wait(lambda: self.accounted() >= self.published, "every partition has lag 0", seconds)
        self.note("every partition has lag 0")

    def _partitions(self, log: LogReader) -> list[int]:
        return log.partitions(self.settings.kafka.transactions_topic)

    def positions(self) -> dict[int, Any]:
        """The positions' rows by partition."""
        own = position.c.group_id == self.settings.kafka.group_id
        with read(self.engine) as connection:
            return {row.partition: row for row in connection.execute(select(position).where(own))}

    def steps_taken(self) -> int:
        """How many changes of positions there were."""
        return len(read_history(self.engine, self.settings.kafka.group_id))

    def owns(self, member: Member) -> list[int]:
        """The partitions that a member has claimed last."""
        end = f":{member.process.pid}"
        return [number for number, row in self.positions().items() if (row.owner or "").endswith(end)]

    @contextlib.contextmanager
    def supervised(self) -> Iterator[None]:
        """Inside, ended workers are started again, as a supervisor does."""
        self.restarting = True
        try:
            yield
        finally:
            self.restarting = False

    def command(self, *arguments: str, point: str | None = None, passing: int = 1) -> int:
        """Run `mimamori ARGUMENTS` to its end; its code. What it says is in commands.log."""
        own = self._environment() | self.environment
        if point is not None:
            own |= {"FAULT_POINT": point, "FAULT_PASSING": str(passing)}
        process = self.services.launcher.start(list(arguments), own, self.folder, self.folder / "commands.log")
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            message = f"mimamori {' '.join(arguments[:2])} does not end"
            raise FaultError(message) from None
        self.note(f"mimamori {' '.join(arguments[:2])}: code {code}")
        return code

    @property
    def is_kafka(self) -> bool:
        """Whether this is Apache Kafka and PostgreSQL."""
        return self.stack == KAFKA
