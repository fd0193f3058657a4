"""The constants are the kernel's: a C program that the headers compile prints the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

from newroot.linux import constants
from newroot.testing.needs import needs

#: Not in any uapi header.
OURS = {"SIGRTMIN", "SIGRTMAX", "MAX_ERRNO"}
GLIBC = {"MNT_FORCE", "MNT_DETACH", "MNT_EXPIRE", "UMOUNT_NOFOLLOW"}

SOURCE = Path(constants.__file__).read_text()
#: Younger than the oldest headers that we build with; macros, but for one enumerator.
YOUNG = {line.split()[0] for line in SOURCE.splitlines() if "# Linux 6." in line}

HEADERS = [
    line.removeprefix("# ").split()[0]
    for line in SOURCE.splitlines()
    if line.startswith("# ") and line.split()[1].endswith(".h")
]


def numbers() -> dict[str, int]:
    return {name: value for name, value in vars(constants).items() if isinstance(value, int)}


def compiled(headers: list[str], names: list[str], tmp_path: Path) -> dict[str, int]:
    lines = [f"#include <{header}>" for header in headers]
    lines += ["#include <stdio.h>", "int main(void) {"]
    for name in names:
        line = f'printf("{name} %lld\\n", (long long) ({name}));'
        lines.append(f"#ifdef {name}\n{line}\n#endif" if name in YOUNG else line)
    source, program = tmp_path / "c.c", tmp_path / "c"
    source.write_text("#define _GNU_SOURCE\n" + "\n".join([*lines, "}"]))
    subprocess.run(["gcc", "-w", "-o", program, source], check=True)
    text = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in map(str.split, text.splitlines())}


@needs("gcc")
def test_constants_are_those_of_the_kernel_headers(tmp_path):
    kernel = [each for each in HEADERS if each.startswith(("linux/", "asm/res"))]
    names = [name for name in numbers() if name not in OURS | GLIBC]

    actual = compiled(kernel, names, tmp_path)

    assert set(names) - YOUNG <= set(actual)
    assert {name: numbers()[name] for name in actual} == actual


@needs("gcc")
def test_constants_of_umount_are_those_of_the_c_library(tmp_path):
    assert {name: numbers()[name] for name in GLIBC} == compiled(
        ["sys/mount.h"], sorted(GLIBC), tmp_path
    )


@needs("gcc")
def test_signals_are_those_of_the_c_library(tmp_path):
    assert constants.SIGNALS == compiled(["signal.h"], list(constants.SIGNALS), tmp_path)


def test_nothing_but_integers_and_signals_is_in_there():
    public = {name: value for name, value in vars(constants).items() if name[0] != "_"}

    assert {type(value) for value in public.values()} - {int, dict} == {type(public["annotations"])}
