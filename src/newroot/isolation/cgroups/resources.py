"""OCI ``linux.resources``, read with care, and ``Write``: one cgroup file's new content.

The object comes from a config.json that somebody else wrote, so every value is checked for its
type and its range before anything is touched, and a wrong one is a SpecError that points at it.
A value that is null or 0 where 0 is no limit counts as not given, as in runc.
"""

from __future__ import annotations

from newroot.errors import SpecError, UnsupportedError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

POINTER = "/linux/resources"
INT64 = (-(2**63), 2**63 - 1)
UINT64 = (0, 2**64 - 1)
UINT32 = (0, 2**32 - 1)
UINT16 = (0, 2**16 - 1)
#: A limit in bytes or tasks: -1 is "no limit".
LIMIT = (-1, 2**63 - 1)
#: kernel/sched: MAX_SHARES and MIN_SHARES; the period's bounds are min_cfs_quota_period and
#: max_cfs_quota_period, and no quota may be below the shortest period.
SHARES = (2, 262144)
PERIOD_US = (1000, 1000000)
#: Documentation/admin-guide/cgroup-v1/blkio-controller.rst
BLKIO_WEIGHT = (10, 1000)


@record
class Write:
    """Write *value* to *file* in the cgroup directory that has *controller*.

    Where the kernel has no such file, *instead* is written, or nothing if *optional*.
    """

    controller: str  #: "" for the files that every cgroup v2 has
    file: str
    value: str
    optional: bool = False
    instead: Write | None = None


class Section:
    """One JSON object of the document, and where it is."""

    __slots__ = ("pointer", "values")

    def __init__(self, untrusted_values: object, pointer: str) -> None:
        if untrusted_values is None:
            untrusted_values = {}
        if not isinstance(untrusted_values, dict):
            raise SpecError(f"should be an object, is {untrusted_values!r}", pointer=pointer)
        self.values: dict[str, object] = untrusted_values
        self.pointer = pointer

    def at(self, name: str) -> str:
        """The pointer to one of the members (RFC 6901)."""
        return f"{self.pointer}/{name.replace('~', '~0').replace('/', '~1')}"

    def wrong(self, name: str, what: str) -> SpecError:
        return SpecError(what, pointer=self.at(name))

    def section(self, name: str) -> Section:
        return Section(self.values.get(name), self.at(name))

    def sections(self, name: str) -> Iterator[Section]:
        """The objects of an array."""
        values = self.values.get(name)
        if values is None:
            return
        if not isinstance(values, list | tuple):
            raise self.wrong(name, f"should be an array, is {values!r}")
        for index, value in enumerate(values):
            if value is None:
                raise SpecError("should be an object, is null", pointer=f"{self.at(name)}/{index}")
            yield Section(value, f"{self.at(name)}/{index}")

    def find_integer(self, name: str, bounds: tuple[int, int] = INT64) -> int | None:
        value = self.values.get(name)
        if value is None:
            return None
        # JSON's true is Python's 1.
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, f"should be an integer, is {value!r}")
        low, high = bounds
        if not low <= value <= high:
            raise self.wrong(name, f"{value} is not between {low} and {high}")
        return value

    def find_set(self, name: str, bounds: tuple[int, int] = INT64) -> int | None:
        """The integer, or None where it is 0, which means "leave it as it is" here."""
        if self.values.get(name) == 0 and not isinstance(self.values.get(name), bool):
            return None
        return self.find_integer(name, bounds)

    def get_integer(self, name: str, bounds: tuple[int, int] = INT64) -> int:
        value = self.find_integer(name, bounds)
        if value is None:
            raise self.wrong(name, "is missing")
        return value

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(name, f"should be true or false, is {value!r}")
        return value

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(name, f"should be a string, is {value!r}")
        if "\0" in value:
            raise self.wrong(name, "has a NUL character")
        return value

    def word(self, name: str) -> str:
        """A string that becomes one word of a cgroup file's line."""
        value = self.text(name)
        if not value or any(character.isspace() for character in value):
            raise self.wrong(name, f"should be one word, is {value!r}")
        return value

    def cpu_list(self, name: str) -> str:
        """A list of CPUs or memory nodes: cpuset(7), List format."""
        value = self.text(name).strip()
        if not set(value) <= set("0123456789,-:/ \t"):
            raise self.wrong(name, f"{value!r} is not a list such as 0-2,7")
        return value


def unsupported(section: Section, name: str, why: str) -> UnsupportedError:
    """The host's cgroups have no word for a member of the document."""
    return UnsupportedError(
        f"{section.at(name)}: {why}", feature=name, hint=f"leave {name} out for this host"
    )


def pids_writes(top: Section) -> Iterator[Write]:
    """The same file and words on v1 and v2.  0 leaves it as it is, as in runc."""
    limit = top.section("pids").find_set("limit")
    if limit is not None:
        yield Write(controller="pids", file="pids.max", value=str(limit) if limit > 0 else "max")


def rdma_writes(top: Section) -> Iterator[Write]:
    """The same file and words on v1 and v2."""
    rdma = top.section("rdma")
    for device in rdma.values:
        if not device or any(character.isspace() for character in device):
            raise rdma.wrong(device, "is not the name of an RDMA device")
        limits = rdma.section(device)
        words = [device]
        for name, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            value = limits.find_integer(name, UINT32)
            if value is not None:
                words.append(f"{word}={value}")
        yield Write(controller="rdma", file="rdma.max", value=" ".join(words))


def huge_page_limits(top: Section) -> Iterator[tuple[str, int]]:
    """Page size as the kernel spells it in file names ("2MB"), and the limit in bytes."""
    for limit in top.sections("hugepageLimits"):
        size = limit.text("pageSize")
        digits = size[:-2]
        if size[-2:] not in ("KB", "MB", "GB") or not digits.isdecimal() or digits[0] == "0":
            raise limit.wrong("pageSize", f"{size!r} is not a size such as 2MB")
        yield size, limit.get_integer("limit", UINT64)


def device_number(entry: Section) -> str:
    """``major:minor`` of a blockIO entry."""
    return f"{entry.get_integer('major', UINT32)}:{entry.get_integer('minor', UINT32)}"


def cpu_bandwidth(cpu: Section) -> tuple[int | None, int | None, int | None]:
    """Quota, period and burst in microseconds; a negative quota is "no limit"."""
    quota = cpu.find_set("quota")
    if quota is not None and 0 < quota < PERIOD_US[0]:
        raise cpu.wrong("quota", f"{quota} is below the kernel's least, {PERIOD_US[0]} µs")
    return quota, cpu.find_set("period", PERIOD_US), cpu.find_integer("burst", UINT64)
