"""What a look costs for each process or mount more, in system calls, which no load changes.

The times beside lsns's and findmnt's are rows of the bench: bench/look.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from newroot.testing.needs import needs

pytestmark = needs("root", "strace", "util-linux")

MANY = Path(__file__).parent.parent.parent / "bench/many.py"
ALONE = "unshare --mount --pid --fork --kill-child --mount-proc".split()


def calls(processes: int, mounts: int, expression: str, tmp_path: Path) -> Counter[str]:
    """How often each system call is made by *expression* on a host of so many."""
    trace = tmp_path / f"{processes}-{mounts}"
    # The first look imports; the second is counted, between two calls that nothing else makes.
    program = (
        f"import sys, os; sys.path[:] = {sys.path!r}; from newroot import observe\n"
        f"{expression}; os.getpriority(0, 0); {expression}; os.getpriority(0, 0)"
    )
    crowd = [*ALONE, sys.executable, MANY, str(processes), str(mounts)]
    strace = ["strace", "-o", trace, sys.executable, "-I", "-S", "-c", program]
    subprocess.run([*crowd, *strace], check=True, timeout=100, stdin=subprocess.DEVNULL)
    looked = trace.read_text().split("getpriority(")[1]
    return Counter(re.findall(r"^(\w+)\(", looked, re.MULTILINE))


def slope(few: Counter[str], many: Counter[str], more: int) -> dict[str, float]:
    return {call: round((many[call] - few[call]) / more, 1) for call in many | few}


def test_a_process_more_costs_one_file_one_directory_and_its_links(tmp_path: Path) -> None:
    few, many = (calls(count, 0, "observe.namespaces()", tmp_path) for count in (20, 120))
    cost = slope(few, many, 100)

    # Its status, and its descriptors' directory; the links of eight types and of three descriptors.
    assert cost["openat"] <= 2
    assert cost["read"] <= 1
    assert cost["readlink"] <= 8 + 4
    assert sum(cost.values()) <= 24


def test_a_mount_more_costs_two_looks_at_its_inode_and_no_file(tmp_path: Path) -> None:
    few, many = (calls(0, count, "observe.mounts()", tmp_path) for count in (20, 220))
    cost = slope(few, many, 200)

    # mountinfo is read once, a page at a time; a bind is compared with what it shows.
    assert cost["openat"] == 0
    assert cost["newfstatat"] <= 2
    assert sum(cost.values()) <= 2.2
