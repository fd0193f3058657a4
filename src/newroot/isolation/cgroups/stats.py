"""What a cgroup has used, read from its files.

Where a controller is not there, neither is its file, and the number is None: not counted, which
is not the same as 0.  The units are those of ``Stats``, whatever the kernel's are.
"""

from __future__ import annotations

from newroot.isolation.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def read_v2(directory: str) -> dict[str, int | None]:
    """The numbers of the cgroup v2 at *directory*, by the names of ``Stats``."""
    cpu = files.keyed_numbers(files.find(f"{directory}/cpu.stat"))
    read, written = _io_bytes_v2(files.find(f"{directory}/io.stat"))
    return {
        "memory_bytes": files.find_number(f"{directory}/memory.current"),
        "memory_peak_bytes": files.find_number(f"{directory}/memory.peak"),  # since Linux 5.19
        "cpu_ns": _nanoseconds(cpu.get("usage_usec")),
        "cpu_periods": cpu.get("nr_periods"),
        "cpu_throttled_periods": cpu.get("nr_throttled"),
        "cpu_throttled_ns": _nanoseconds(cpu.get("throttled_usec")),
        "pids": files.find_number(f"{directory}/pids.current"),
        "io_read_bytes": read,
        "io_written_bytes": written,
    }


def read_v1(directory_of: Callable[[str], str | None]) -> dict[str, int | None]:
    """The same from cgroup v1, where each controller may have a directory of its own."""
    cpu = files.keyed_numbers(_find(directory_of("cpu"), "cpu.stat"))
    read, written = _io_bytes_v1(
        _find(directory_of("blkio"), "blkio.throttle.io_service_bytes_recursive")
    )
    return {
        "memory_bytes": _number(directory_of("memory"), "memory.usage_in_bytes"),
        "memory_peak_bytes": _number(directory_of("memory"), "memory.max_usage_in_bytes"),
        "cpu_ns": _number(directory_of("cpuacct"), "cpuacct.usage"),
        "cpu_periods": cpu.get("nr_periods"),
        "cpu_throttled_periods": cpu.get("nr_throttled"),
        "cpu_throttled_ns": cpu.get("throttled_time"),
        "pids": _number(directory_of("pids"), "pids.current"),
        "io_read_bytes": read,
        "io_written_bytes": written,
    }


def _find(directory: str | None, file: str) -> str | None:
    return None if directory is None else files.find(f"{directory}/{file}")


def _number(directory: str | None, file: str) -> int | None:
    return None if directory is None else files.find_number(f"{directory}/{file}")


def _nanoseconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds * 1000


def _io_bytes_v2(text: str | None) -> tuple[int | None, int | None]:
    """Bytes read and written, over all devices: lines of ``8:0 rbytes=1 wbytes=2 …``."""
    if text is None:
        return None, None
    words = [word.partition("=") for line in text.splitlines() for word in line.split()[1:]]
    return _sum(words, "rbytes"), _sum(words, "wbytes")


def _io_bytes_v1(text: str | None) -> tuple[int | None, int | None]:
    """Lines of ``8:0 Read 1``; the last line, ``Total 3``, has no device."""
    if text is None:
        return None, None
    words = [(line[1], "", line[2]) for line in map(str.split, text.splitlines()) if len(line) == 3]
    return _sum(words, "Read"), _sum(words, "Write")


def _sum(words: list[tuple[str, str, str]], key: str) -> int:
    return sum(int(value) for name, _, value in words if name == key and value.isdecimal())
