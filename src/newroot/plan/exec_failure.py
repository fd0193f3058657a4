"""Why a command could not be executed: its file, and what that file in turn needs, are looked at.

execve(2) has one errno for a command that is missing and for its interpreter that is missing, one
for a foreign machine's program and for a script without ``#!``.  The kernel's own reading of a
file is done again here: fs/exec.c, fs/binfmt_script.c, fs/binfmt_elf.c.
"""

from __future__ import annotations

import os
import stat

from newroot.plan import steps as s
from newroot.plan.view import RootView
from newroot.record import record

_MOST_INTERPRETERS = 5  # fs/exec.c, exec_binprm: a fifth rewrite is ELOOP
_HEAD = 256  # BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h
_PT_INTERP = 3
_CAP_DAC_OVERRIDE = 1 << 1

#: e_machine: include/uapi/linux/elf-em.h; the names are uname(1)'s.
MACHINES = {
    2: "sparc",
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    43: "sparc64",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_LITTLE = {"ppc64": "ppc64le", "mips": "mipsel"}


@record
class Finding:
    """What is wrong with a command.  *kind* is one of the words below."""

    kind: str
    path: str = ""  #: the file that was looked at
    detail: str = ""  #: the interpreter, the machine, the link's text …


def examine(plan: s.Plan, count: int, step: s.Exec, machine: str) -> Finding:
    """Look at the command of *step*, in the root that the *count* steps before it made."""
    view = RootView(plan, count)
    there = [path for path in step.paths if view.stat(path, follow=False) is not None]
    if not there:
        return _missing(view, step)
    # Of several in PATH the kernel was asked in turn; the first that is a file tells most.
    files = [path for path in there if not _is_directory(view, path)]
    return _Examiner(view, plan, machine).why_not((files or there)[0], _MOST_INTERPRETERS)


def _is_directory(view: RootView, path: str) -> bool:
    found = view.stat(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


_USUAL = ("/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")


def _missing(view: RootView, step: s.Exec) -> Finding:
    name = step.argv[0]
    searched = ":".join(path.rpartition("/")[0] or "/" for path in step.paths)
    if " " in name.strip():
        return Finding(kind="words", path=name, detail=name)
    if "/" in name:
        file = view.first_file(name)
        if file not in (None, name):
            return Finding(kind="below-file", path=name, detail=str(file))
        return Finding(kind="missing", path=name)
    for directory in _USUAL:
        if view.stat(f"{directory}/{name}") is not None:
            return Finding(kind="elsewhere", path=f"{directory}/{name}", detail=searched)
    return Finding(kind="not-in-path", path=name, detail=searched)


class _Examiner:
    """Looks at one file after another: a command, its interpreter, that one's loader."""

    def __init__(self, view: RootView, plan: s.Plan, machine: str) -> None:
        self.view = view
        self.machine = machine
        self.user = _user(plan)

    def why_not(self, path: str, left: int) -> Finding:
        """Why *path* cannot be executed, when *left* more files may be rewritten to."""
        found = self.view.stat(path)
        if found is None:
            return Finding(kind="dangling", path=path, detail=self.view.readlink(path) or "")
        if not stat.S_ISREG(found.st_mode):
            return Finding(kind="directory", path=path)
        return self._permission(path, found) or self._format(path, left)

    def _permission(self, path: str, found: os.stat_result) -> Finding | None:
        place = self.view.place_of(path)
        if place is not None and _is_noexec(place.flags, place.layers):
            return Finding(kind="noexec", path=path, detail=place.target)
        if not found.st_mode & 0o111:
            return Finding(kind="not-executable", path=path, detail=_mode(found))
        if self.user is None:
            return None
        for name in (*_above(path), path):
            there = self.view.stat(name)
            if there is not None and not _may_execute(there, self.user):
                words = f"uid {self.user.uid}, mode {_mode(there)}, owner {there.st_uid}"
                return Finding(kind="forbidden", path=name, detail=words)
        return None

    def _format(self, path: str, left: int) -> Finding:
        head = self.view.head(path) or b""
        if not head:
            return Finding(kind="empty", path=path)
        if head[:2] == b"#!":
            return self._script(path, head[:_HEAD], left)
        if head[:4] == b"\x7fELF":
            return self._elf(path, head, left)
        is_text = b"\0" not in head[:_HEAD]
        return Finding(kind="no-interpreter-line" if is_text else "no-format", path=path)

    def _script(self, path: str, head: bytes, left: int) -> Finding:
        line = head[2:].split(b"\n", 1)[0].strip(b" \t")
        interpreter = os.fsdecode(line.split(b" ", 1)[0].split(b"\t", 1)[0])
        if interpreter.endswith("\r"):
            return Finding(kind="carriage-return", path=path, detail=interpreter[:-1])
        if not interpreter:
            return Finding(kind="no-interpreter-line", path=path)
        return self._needed(path, interpreter, "interpreter", left)

    def _elf(self, path: str, head: bytes, left: int) -> Finding:
        elf = read_elf(head)
        if elf is None:
            return Finding(kind="no-format", path=path)
        machine, loader = elf
        if machine not in runs_here(self.machine):
            return Finding(kind="machine", path=path, detail=machine)
        if loader is None:
            return Finding(kind="unknown", path=path)
        return self._needed(path, loader, "loader", left)

    def _needed(self, path: str, needed: str, kind: str, left: int) -> Finding:
        """*path* needs *needed* to run: whichever of the two is to blame."""
        if self.view.stat(needed) is None:
            return Finding(kind=kind, path=path, detail=needed)
        if left <= 1:
            return Finding(kind="loop", path=path, detail=needed)
        return self.why_not(needed, left - 1)


def _mode(found: os.stat_result) -> str:
    return f"{found.st_mode & 0o7777:04o}"


def _is_noexec(flags: tuple[str, ...], layers: tuple[str, ...]) -> bool:
    if "noexec" in flags:
        return True
    if "exec" in flags or len(layers) != 1:
        return False
    try:  # a bind has the flags of what it binds
        return bool(os.statvfs(layers[0]).f_flag & os.ST_NOEXEC)
    except OSError:
        return False


def _above(path: str) -> list[str]:
    names = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(names[: n + 1]) for n in range(len(names))]


def _user(plan: s.Plan) -> s.SetUser | None:
    """Whose permissions count; None where they cannot be told from here."""
    if any(isinstance(step, s.MapIds) for step in plan.steps):
        return None  # the owners in the root are others, seen from in there
    user = next((step for step in plan.steps if isinstance(step, s.SetUser)), None)
    for step in plan.steps:
        if isinstance(step, s.SetCapabilities) and step.effective & _CAP_DAC_OVERRIDE:
            return None
    return user


def _may_execute(found: os.stat_result, user: s.SetUser) -> bool:
    if found.st_uid == user.uid:
        return bool(found.st_mode & 0o100)
    if found.st_gid == user.gid or found.st_gid in user.groups:
        return bool(found.st_mode & 0o010)
    return bool(found.st_mode & 0o001)


def runs_here(machine: str) -> tuple[str, ...]:
    """The machines whose programs the kernel of *machine* runs by itself."""
    also = {"x86_64": ("i386",), "aarch64": ("arm",), "ppc64le": ("ppc64",)}
    return (machine, *also.get(machine, ()), *(("i386",) if machine[1:] == "686" else ()))


def read_elf(head: bytes) -> tuple[str, str | None] | None:
    """The machine and the loader (PT_INTERP) that an ELF file's first bytes name: elf(5)."""
    if len(head) < 52 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    little, wide = head[5] == 1, head[4] == 2

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "little" if little else "big")

    code = number(18, 2)
    machine = MACHINES.get(code, f"machine {code}")
    if little:
        machine = _LITTLE.get(machine, machine)
    table = number(32, 8) if wide else number(28, 4)
    size, count = (number(54, 2), number(56, 2)) if wide else (number(42, 2), number(44, 2))
    for n in range(min(count, 64)):
        at = table + n * size
        if number(at, 4) == _PT_INTERP:
            place, length = (
                (number(at + 8, 8), number(at + 32, 8))
                if wide
                else (number(at + 4, 4), number(at + 16, 4))
            )
            raw = head[place : place + length].split(b"\0", 1)[0]
            return machine, os.fsdecode(raw) or None
    return machine, None
