"""What a bench runs on, and processor time of processes, as Linux tells it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from fraud.errors import ConfigurationError

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_LISTENING = "0A"  # a socket's state in /proc/net/tcp
# Fields of /proc/PID/stat after the command's name: parent, and own and waited-for children's user and system time.
_PARENT, _TIMES = 1, slice(11, 15)


def machine_facts() -> dict[str, Any]:
    """Processor, cores, memory, versions, and how busy the machine is at this moment."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average_1m": round(os.getloadavg()[0], 2),
    }


def pin_to_core(core: int) -> None:
    """Keep this process, with all threads that it starts from now on, on one core."""
    if not hasattr(os, "sched_setaffinity"):
        message = "benches pin processes to a core, which this system cannot do; run them on Linux"
        raise ConfigurationError(message)
    try:
        os.sched_setaffinity(0, {core})
    except OSError as error:
        message = f"there is no core {core} to pin to; this process may use {sorted(os.sched_getaffinity(0))}"
        raise ConfigurationError(message) from error


def last_core() -> int:
    """The highest-numbered core that this process may use: the first is where systems put their interrupts."""
    return max(os.sched_getaffinity(0))


def server_process(port: int) -> int | None:
    """The process that listens on a port of this machine; None when it runs elsewhere or belongs to somebody else."""
    wanted = _listening_sockets(port)
    for folder in _PROC.glob("[0-9]*"):
        try:
            if any(str(handle.readlink()) in wanted for handle in (folder / "fd").iterdir()):
                return int(folder.name)
        except OSError:  # it has ended, or is not ours to look into
            continue
    return None


def cpu_seconds(pid: int) -> float:
    """Processor seconds of a process, of its living descendants, and of those that it has waited for."""
    own: dict[int, float] = {}
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        own[int(folder.name)] = sum(map(int, fields[_TIMES])) / _TICKS
        children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    total, waiting = 0.0, [pid]
    while waiting:
        process = waiting.pop()
        total += own.get(process, 0.0)
        waiting.extend(children.get(process, ()))
    return total


def _listening_sockets(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text(encoding="utf-8").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                found.add(f"socket:[{rest[5]}]")
    return found


def _cpu_model() -> str:
    try:
        lines = (_PROC / "cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
