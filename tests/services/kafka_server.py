"""Apache Kafka from its Maven artifacts: one KRaft node on the loopback interface, whose log survives `kill()`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from service_process import ServiceError, ServiceProcess, is_open

from streams.embedded import free_port

_RESOURCES = Path(__file__).parent / "kafka"
_HEAP = ("-Xms128m", "-Xmx512m")
# Quick to start and light on two cores; its peak throughput is of no interest here.
_JVM = (*_HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
"""


def kafka_libraries() -> Path:
    """The folder of Kafka's libraries, resolved by Maven at first and kept in the user's cache."""
    for program, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            message = f"Apache Kafka needs {program}; install {package}"
            raise ServiceError(message)
    pom = _RESOURCES / "pom.xml"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mimamori-tests"
    cache.mkdir(parents=True, exist_ok=True)
    libraries = cache / f"kafka-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    with (cache / "kafka.lock").open("w") as lock:  # test processes that run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not libraries.exists():
            partial = Path(tempfile.mkdtemp(dir=cache))
            resolve = ("dependency:copy-dependencies", f"-DoutputDirectory={partial}")
            command = ["mvn", "-q", "-B", "-f", str(pom), *resolve]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                shutil.rmtree(partial)
                message = f"Maven could not resolve {pom}:\n{done.stdout[-1000:]}"
                raise ServiceError(message)
            partial.rename(libraries)
    return libraries


class KafkaServer:
    """A broker that can be stopped, killed, and started again on its log and port."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._properties = folder / "server.properties"
        self._log_file = folder / "kafka.log"
        self._libraries = kafka_libraries()
        self._process: ServiceProcess | None = None
        self._properties.write_text(
            _PROPERTIES.format(port=self._port, controller_port=free_port(), log_dir=folder / "log"), encoding="utf-8"
        )
        self._format()

    @property
    def bootstrap(self) -> str:
        """The broker's address, the same for its whole life."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Run it, on whatever its log holds; back when it answers."""
        self._process = ServiceProcess(self._java("kafka.Kafka", str(self._properties)), self._log_file)
        self._process.wait_until(lambda: is_open(self._port), "Apache Kafka")

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not ended since."""
        return self._process is not None

    def stop(self) -> None:
        """An orderly shutdown."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.end(how)
            self._process = None

    def _format(self) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        command = self._java(
            "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(self._properties)
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            message = f"Kafka's storage could not be formatted:\n{done.stdout[-1000:]}{done.stderr[-1000:]}"
            raise ServiceError(message)

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={_RESOURCES / 'log4j2.properties'}"
        return ["java", *_JVM, logging, "-cp", f"{self._libraries}/*", main_class, *arguments]
