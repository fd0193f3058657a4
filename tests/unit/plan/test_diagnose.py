"""The table of failures, its page, and the looks that it takes, without a kernel that refuses."""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import os
import struct
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.plan import steps as s
from newroot.plan.diagnose import ROWS, Failure, Row, diagnose, diagnose_clone
from newroot.plan.exec_failure import Finding, examine, read_elf, runs_here
from newroot.plan.host import Host
from newroot.plan.launcher import Report
from newroot.plan.report import shorten, step_error
from newroot.plan.view import RootView

TOP = Path(__file__).resolve().parents[3]

#: Every step that can be in a plan.
STEPS = [kind for kind in vars(s).values() if isinstance(kind, type) and issubclass(kind, s.Step)]


class Initramfs(Host):
    """A host whose root is the kernel's rootfs."""

    def root_type(self) -> str:
        return "rootfs"

    def is_mount_point(self, path: str) -> bool:
        return True


def plan_of(*steps: s.Step) -> s.Plan:
    return s.Plan(steps=steps)


# ---- the table ----


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_whole(row: Row) -> None:
    assert row.remedy
    assert row.proof
    assert set(row.errors) <= set(errno.errorcode.values())  # ENOTSUP, not EOPNOTSUPP
    for text in (row.cause, row.remedy):
        assert not text.endswith(".")
        assert text[:1] == text[:1].lower()
        assert row.find is not None or "{found}" not in text


def test_names_are_unique() -> None:
    names = [row.name for row in ROWS]

    assert sorted(set(names)) == sorted(names)


def test_calls_are_calls_of_the_kernel() -> None:
    from newroot.linux.syscalls import number

    calls = {call for row in ROWS for call in row.calls}

    assert [call for call in calls if number(call, "x86_64") is None] == []


def test_no_row_is_hidden_by_one_before_it() -> None:
    """A row that always fits ends the looking: what comes after with no more to go by is dead."""
    for n, row in enumerate(ROWS):
        for earlier in ROWS[:n]:
            hides = (
                earlier.find is None
                and not earlier.words
                and set(row.errors) <= set(earlier.errors)
                and (not earlier.steps or (row.steps and set(row.steps) <= set(earlier.steps)))
                and (not earlier.calls or (row.calls and set(row.calls) <= set(earlier.calls)))
            )
            assert not hides, f"{earlier.name} hides {row.name}"


def page_writer() -> ModuleType:
    path = str(TOP / "scripts/errors-page")
    loader = importlib.machinery.SourceFileLoader("errors_page", path)
    spec = importlib.util.spec_from_loader("errors_page", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_page_is_what_the_table_says() -> None:
    written = (TOP / "docs/reference/errors.md").read_text(encoding="utf-8")

    assert page_writer().page() == written, "run scripts/errors-page"


# ---- looking ----


def test_initramfs_is_told_by_the_file_system_of_the_root() -> None:
    plan = plan_of(s.UseRoot(path="/new"), s.PivotRoot(root="/new"))

    found = diagnose(Failure(plan, 1, errno.EINVAL, call="pivot_root", host=Initramfs()))

    assert found is not None
    assert found.name == "pivot-from-initramfs"
    assert found.remedy == "use --switch move"


def test_what_cannot_be_looked_at_hides_no_error() -> None:
    class Broken(Host):
        def exists(self, path: str) -> bool:
            raise OSError(errno.EIO, "the disk is broken")

    plan = plan_of(s.BindMount(source="/none", target="/x"))

    assert diagnose(Failure(plan, 0, errno.ENOENT, call="open_tree", host=Broken())) is None


def test_unknown_failure_has_the_kernels_words_and_no_hint() -> None:
    report = Report(kind=1, index=0, error=errno.EXFULL, call=0, log="")

    error = step_error(plan_of(s.NewSession()), report)

    assert str(error) == "step 1 of 1, lead a new session: Exchange full (EXFULL)"
    assert error.hint is None


def test_unknown_errno_is_shown_as_its_number() -> None:
    error = step_error(plan_of(s.NewSession()), Report(kind=1, index=0, error=4095, call=9, log=""))

    assert str(error) == "step 1 of 1, lead a new session: Unknown error 4095 (4095)"


def test_failure_before_the_first_step_is_the_first_steps() -> None:
    report = Report(kind=1, index=7, error=errno.EPERM, call=0, log="")

    assert step_error(plan_of(s.NewSession()), report).index == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "this needs root, or a user namespace of your own"),
        (errno.ENOSPC, "raise it, or end some containers: /proc/sys/user/max_*_namespaces"),
        (errno.EINVAL, "see which there are: ls /proc/self/ns"),
    ],
)
def test_refused_clone_has_a_remedy(number: int, words: str) -> None:
    found = diagnose_clone(number)

    assert found is not None
    assert found.remedy == words


@given(st.text(max_size=2000))
def test_message_is_one_line_and_short(text: str) -> None:
    made = shorten(text)

    assert "\n" not in made
    assert made.isprintable()
    assert text == made or len(text) > 400 or not text.isprintable()


# ---- the new root, seen from outside ----


def root_plan(root: Path, *steps: s.Step) -> s.Plan:
    at = str(root.parent / "at")
    bind = s.BindMount(source=str(root), target=at, on_host=True)
    return plan_of(bind, s.UseRoot(path=at), *steps)


def test_root_is_seen_through_its_layers(tmp_path: Path) -> None:
    for layer, text in (("top", "new"), ("low", "old")):
        (tmp_path / layer).mkdir()
        (tmp_path / layer / "file").write_text(text)
    overlay = s.MountOverlay(
        lower=(str(tmp_path / "top"), str(tmp_path / "low")), upper="/none", target="/at"
    )

    view = RootView(plan_of(overlay, s.UseRoot(path="/at")), 2)

    assert view.head("/file") == b"new"


def test_bound_file_is_seen_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "script").write_text("#!/x")
    bind = s.BindMount(source=str(tmp_path / "script"), target="/bin/run")

    view = RootView(root_plan(tmp_path / "root", bind), 3)

    assert view.head("/bin/run") == b"#!/x"


def test_later_mount_hides_what_is_below(tmp_path: Path) -> None:
    (tmp_path / "root/tmp").mkdir(parents=True)
    (tmp_path / "root/tmp/file").write_text("hidden")
    hide = s.MountFs(type="tmpfs", source="tmpfs", target="/tmp")
    plan = root_plan(tmp_path / "root", hide)

    assert RootView(plan, 2).head("/tmp/file") == b"hidden"
    assert RootView(plan, 3).head("/tmp/file") is None


def test_fifo_in_the_root_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    os.mkfifo(tmp_path / "root/x")
    os.chmod(tmp_path / "root/x", 0o755)
    step = s.Exec(paths=("/x",), argv=("/x",))
    plan = root_plan(tmp_path / "root", step)

    assert RootView(plan, 2).head("/x") is None
    assert examine(plan, 2, step, "x86_64").kind == "directory"


def test_symlink_out_of_the_root_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/x").symlink_to("/etc/passwd")
    step = s.Exec(paths=("/x",), argv=("/x",))
    plan = root_plan(tmp_path / "root", step)

    found = examine(plan, 2, step, "x86_64")

    assert found == Finding(kind="dangling", path="/x", detail="/etc/passwd")


def test_four_interpreters_deep_is_a_loop(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    for n in range(9):
        (tmp_path / f"root/{n}").write_text(f"#!/{n + 1}\n")
        (tmp_path / f"root/{n}").chmod(0o755)
    step = s.Exec(paths=("/0",), argv=("/0",))

    assert examine(root_plan(tmp_path / "root", step), 2, step, "x86_64").kind == "loop"


# ---- programs ----


def program(machine: int, *, wide: bool = True, little: bool = True, loader: str = "") -> bytes:
    order = "<" if little else ">"
    head = b"\x7fELF" + bytes((2 if wide else 1, 1 if little else 2, 1)) + bytes(9)
    text = loader.encode() + b"\0"
    n = 1 if loader else 0
    if wide:
        rest = struct.pack(f"{order}HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, n, 0, 0, 0)
        table = struct.pack(f"{order}IIQQQQQQ", 3, 4, 120, 0, 0, len(text), len(text), 1)
    else:
        rest = struct.pack(f"{order}HHIIIIIHHHHHH", 2, machine, 1, 0, 52, 0, 0, 52, 32, n, 0, 0, 0)
        table = struct.pack(f"{order}IIIIIIII", 3, 84, 0, 0, len(text), len(text), 4, 1)
    return head + rest + (table + text if loader else b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (program(62), ("x86_64", None)),
        (program(62, loader="/lib64/ld.so"), ("x86_64", "/lib64/ld.so")),
        (program(3, wide=False, loader="/lib/ld.so"), ("i386", "/lib/ld.so")),
        (program(21, little=True), ("ppc64le", None)),
        (program(21, little=False), ("ppc64", None)),
        (program(22, little=False, loader="/lib/ld64.so.1"), ("s390x", "/lib/ld64.so.1")),
        (program(40, wide=False), ("arm", None)),
        (program(999), ("machine 999", None)),
        (b"\x7fELF", None),
        (b"", None),
    ],
)
def test_program_names_its_machine_and_loader(
    data: bytes, expected: tuple[str, str | None] | None
) -> None:
    assert expected == read_elf(data)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading_of_a_program(data: bytes) -> None:
    read_elf(data)
    read_elf(b"\x7fELF\x02\x01" + data)
    read_elf(b"\x7fELF\x01\x02" + data)


def test_program_of_this_host_is_for_this_host() -> None:
    with open(os.path.realpath("/proc/self/exe"), "rb") as file:
        found = read_elf(file.read(4096))

    assert found is not None
    assert found[0] in runs_here(os.uname().machine)
