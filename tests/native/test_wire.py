"""What crosses between Python and newroot-init: both mean the same, and no bytes are too bad."""

from __future__ import annotations

import array
import ctypes
import importlib.util
import os
import random
import re
import select
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.linux import constants as k
from newroot.plan import encode, keep, launcher
from newroot.plan import steps as s
from newroot.plan.mountflags import ATTRIBUTES, PROPAGATIONS
from newroot.testing import needs, require

pytestmark = needs("gcc")

HERE = Path(__file__).parent


def _load_conftest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("native", HERE / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NATIVE: Path = _load_conftest().NATIVE
FREESTANDING = ["gcc", "-std=gnu11", "-ffreestanding", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}"]


# ---- the same layout and the same numbers ----

#: C's struct, its fields in order, and Python's.
LAYOUTS: dict[str, tuple[list[str], struct.Struct]] = {
    "struct plan": (["magic", "size", "count"], encode.PLAN_HEAD),
    "struct step": (
        ["size", "op", "flags", "a", "b", "c", "d", "x", "y", "z"],
        encode.STEP_HEAD,
    ),
    "struct request": (
        ["magic", "flags", "clone_flags", "own", "passed"],
        launcher.REQUEST,
    ),
    "struct keep": (
        [
            *("magic", "flags", "clone_flags", "policy", "most_restarts"),
            *("log_files", "restarts", "log_bytes", "delay_ms", "own", "check_ms"),
            *("reserved", "id"),
        ],
        keep.KEEP,
    ),
    "struct report": (["kind", "index", "error", "call", "log"], launcher.REPORT),
    "struct status": (
        ["kind", "pid", "code", "value", "user_us", "system_us", "max_rss_kib"],
        launcher.STATUS,
    ),
}

#: C's constants, and Python's.
NUMBERS: dict[str, int] = {
    "PLAN_MAGIC": encode.MAGIC,
    "MAX_STEPS": encode.MOST_STEPS,
    **{
        name: getattr(encode, name)
        for name in (
            *("ON_HOST", "MAKE_TARGET", "IF_PRESENT", "RECURSIVE", "ATTR_RECURSIVE"),
            *("NO_SYMLINKS", "KEEP_GROUPS", "PROPAGATION_RECURSIVE", "NO_CONSOLE"),
            *("IDMAP_RECURSIVE", "IN_PROC", "PROC_SOURCE", "LIKE_TARGET"),
            *("COPY_UP", "SAME_NODE"),
        )
    },
    "REQUEST_MAGIC": launcher.REQUEST_MAGIC,
    **{
        name: getattr(keep, name)
        for name in (
            *("KEEP_MAGIC", "KEEP_TERMINAL", "KEEP_STDIN", "KEEP_STDIN_ONCE", "KEEP_PLAIN"),
            *("KEEP_LAST_ACT", "KEEP_AGAIN_BY_ACT"),
            *("RESTART_NO", "RESTART_ON_FAILURE", "RESTART_ALWAYS"),
        )
    },
    **{
        f"MONITOR_{name}": getattr(keep, name)[0]
        for name in ("INPUT", "CLOSE", "SIZE", "STOP", "POLICY", "ERRORS", "OUTPUT", "END")
    },
    "WANT_TIMES": launcher.WANT_TIMES,
    "WANT_KEPT": launcher.WANT_KEPT,
    "WANT_NEXT": launcher.WANT_NEXT,
    "WANT_BIRTH": launcher.WANT_BIRTH,
    "LET_GO_MAGIC": launcher.LET_GO_MAGIC,
    "MOST_OWN": launcher.MOST_OWN,
    "FD_MAX - FD_FIXED": launcher.MOST_PASSED,
    **{
        name: getattr(launcher, name)
        for name in (
            *("REPORT_FAILED", "REPORT_TIMES", "REPORT_WAITING", "REPORT_TERMINAL"),
            *("STATUS_STARTED", "STATUS_ENDED", "STATUS_REFUSED"),
        )
    },
}


@pytest.fixture(scope="module")
def ask_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], list[int]]:
    """The values of C expressions, with wire.h in sight."""
    directory = tmp_path_factory.mktemp("wire")

    def ask(expressions: list[str]) -> list[int]:
        lines = [
            '#include "plan.h"',
            "int printf (const char *, ...);",
            "int main (void) {",
            *(f'  printf ("%llu\\n", (unsigned long long)({word}));' for word in expressions),
            "  return 0;",
            "}",
        ]
        source = directory / "ask.c"
        source.write_text("\n".join(lines) + "\n")
        subprocess.run([*FREESTANDING, source, "-o", directory / "ask"], check=True)
        done = subprocess.run([directory / "ask"], check=True, capture_output=True, text=True)
        return [int(line) for line in done.stdout.split()]

    return ask


def _offsets(layout: struct.Struct) -> list[int]:
    codes = re.findall(r"\d*[a-zA-Z]", layout.format)
    return [struct.calcsize("=" + "".join(codes[:n])) for n in range(len(codes))]


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_structure_has_the_same_layout(
    name: str, ask_c: Callable[[list[str]], list[int]]
) -> None:
    fields, layout = LAYOUTS[name]
    size, *offsets = ask_c(
        [f"sizeof ({name})", *(f"offsetof ({name}, {field})" for field in fields)]
    )

    assert size == layout.size
    assert offsets == _offsets(layout)


def test_the_constants_are_the_same(ask_c: Callable[[list[str]], list[int]]) -> None:
    assert dict(zip(NUMBERS, ask_c(list(NUMBERS)), strict=True)) == NUMBERS


def test_no_flag_of_c_is_unknown_here() -> None:
    text = (NATIVE / "wire.h").read_text()
    enums = re.findall(r"enum(?: \w+)?\s*\{(.*?)\};", text, re.DOTALL)
    names = [name for body in enums for name in re.findall(r"^\s*([A-Z_]+)\b", body, re.MULTILINE)]
    known = {*NUMBERS, "FD_MAX", "FD_FIXED", "FD_PLAN", "STEP_COUNT"}

    fds = {"FD_REPORT", "FD_STATUS", "FD_STDIN", "FD_STDOUT", "FD_STDERR"}
    kept = {"KEEP_PLAN", "KEEP_DIRECTORY", "KEEP_RUN_DIRECTORY", "KEEP_LISTENER", "KEEP_FIXED"}
    kept |= {"KEEP_EVENTS", "KEEP_ACT"}
    steps = {_op_name(kind) for kind in encode.ENCODERS}

    assert set(names) - known - fds - kept - steps == set()


def _op_name(kind: type[s.Step]) -> str:
    return "STEP_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper()


def _op(step: s.Step) -> int:
    op: int = encode.STEP_HEAD.unpack_from(encode.encode_step(step))[1]
    return op


SAMPLES: tuple[s.Step, ...] = (
    s.Unshare(namespaces=("mount", "pid")),
    s.SetNamespace(namespace="net", path="/n"),
    s.MapIds(uids=(), gids=()),
    s.Wait(reason="r"),
    s.DieWithParent(),
    s.NewSession(),
    s.JoinCgroup(procs="/c"),
    s.SetPropagation(target="/", propagation="rslave", on_host=True),
    s.MakeDir(target="/d", make_target=True),
    s.WriteFile(target="/f", data=b"data"),
    s.MountFs(type="tmpfs", source="s", target="/t", options=("size=1m",), flags=("ro",)),
    s.MountOverlay(lower=("/a", "/b"), upper="/u", work="/w", target="/t"),
    s.BindMount(source="/s", target="/t", propagation="private", flags=("ro",)),
    s.UseRoot(path="/r"),
    s.SetAttr(target="/", flags=("ro",)),
    s.MakeNode(target="/n", kind="c", major=1, minor=3),
    s.MakeSymlink(target="/l", to="t"),
    s.Mask(target="/m"),
    s.MakeReadonly(target="/p"),
    s.OpenTerminal(rows=24, columns=80),
    s.SetSysctl(name="net.ipv4.ip_forward", value="1"),
    s.SetHostname(hostname="h"),
    s.SetDomainname(domainname="d"),
    s.LinkUp(interface="lo"),
    s.PivotRoot(root="/r"),
    s.MoveRoot(root="/r"),
    s.Chroot(root="/r"),
    s.DetachOldRoot(),
    s.SetOomScore(score=-1),
    s.SetRlimit(resource=7, soft=1, hard=2),
    s.SetBounding(keep=1),
    s.SetUser(uid=1, gid=2, groups=(3, 4)),
    s.SetCapabilities(effective=1, permitted=1),
    s.SetNoNewPrivs(),
    s.LoadSeccomp(program=b"\x06\0\0\0\0\0\xff\x7f"),
    s.SetCwd(path="/"),
    s.Reap(),
    s.Exec(paths=("/nowhere/a",), argv=("a", "b c"), env=("K=V",)),
    s.HoldTree(source="/s", place=0),
    s.SetLabel(module="apparmor", label="a"),
    s.SetClocks(offsets=(("monotonic", 1, 2),)),
    s.SetScheduler(policy=1, priority=1),
    s.SetAffinity(cpus=(0,)),
    s.SetIoPriority(scheduling_class=2, priority=1),
    s.SetMemoryPolicy(mode=2, nodes=(0, 64)),
    s.SetPersonality(personality=8),
    s.MoveInterfaces(interfaces=(("eth0", "eth1"),)),
    s.RunHook(point="startContainer", path="/h", argv=("h", "x"), env=("A=b",), timeout_s=1),
    s.JoinProcess(namespaces=("mount",), pid=1),
    s.Birth(namespaces=("pid",)),
    s.AwaitStart(paths=("/nowhere/a",)),
    s.NewKeyring(name="k"),
)


def test_there_is_a_sample_of_every_step() -> None:
    assert [type(step) for step in SAMPLES] == list(encode.ENCODERS)


def test_each_step_has_the_same_number(ask_c: Callable[[list[str]], list[int]]) -> None:
    names = [_op_name(type(step)) for step in SAMPLES]
    numbers = dict(zip(names, ask_c(names), strict=True))

    assert {_op_name(type(step)): _op(step) for step in SAMPLES} == numbers
    assert ask_c(["STEP_COUNT - 1"]) == [len(encode.ENCODERS)]


# ---- what is sent is accepted, and read as it was meant ----


@pytest.fixture(scope="module")
def plan_c(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """plan.c as a library of its own."""
    path = tmp_path_factory.mktemp("plan") / "plan.so"
    subprocess.run([*FREESTANDING, "-shared", "-fPIC", NATIVE / "plan.c", "-o", path], check=True)
    library = ctypes.CDLL(str(path))
    library.plan_check.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.plan_first.restype = library.plan_next.restype = ctypes.c_void_p
    library.plan_first.argtypes = library.plan_next.argtypes = [ctypes.c_void_p]
    library.text_of.restype = ctypes.c_char_p
    library.text_of.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.list_of.restype = ctypes.POINTER(ctypes.c_char_p)
    library.list_of.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    return library


_TEXTS = st.binary(max_size=300).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
_LISTS = st.lists(_TEXTS, max_size=5).map(tuple)
_SMALL = st.integers(0, 2**32 - 2)
_BIG = st.integers(0, 2**64 - 1)
_FLAGS = st.lists(st.sampled_from(sorted(ATTRIBUTES)), max_size=4).map(tuple)
_PROPAGATION = st.sampled_from([*PROPAGATIONS, *("r" + name for name in PROPAGATIONS)])

#: A field's values, by its name or else by its type.
_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "namespaces": st.lists(st.sampled_from(sorted(encode.NAMESPACES)), unique=True).map(tuple),
    "namespace": st.sampled_from(sorted(encode.NAMESPACES)),
    "flags": _FLAGS,
    "recursive_flags": _FLAGS,
    "propagation": _PROPAGATION,
    "kind": st.sampled_from(sorted(encode.S_IF)),
    "groups": st.lists(_SMALL, max_size=8).map(tuple),
    "uids": st.just(()),
    "gids": st.just(()),
    "name": st.sampled_from(["net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/forwarding"]),
    "program": st.lists(_BIG, max_size=8).map(lambda words: struct.pack(f"{len(words)}Q", *words)),
    "score": st.integers(-1000, 1000),
    "offsets": st.just((("boottime", -1, 5),)),
    "interfaces": st.just((("a", "b"),)),
    "cpus": st.lists(st.integers(0, 500), min_size=1, max_size=4).map(tuple),
    "nodes": st.lists(st.integers(0, 500), max_size=4).map(tuple),
    "nice": st.integers(-20, 19),
    "module": st.sampled_from(["apparmor", "selinux"]),
    "place": st.integers(0, 7),
    **{name: st.integers(0, 2**12 - 1) for name in ("mode", "major", "minor", "umask")},
    **{name: st.integers(0, 2**15) for name in ("rows", "columns", "resource")},
}
_BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": _TEXTS,
    "bytes": st.binary(max_size=300),
    "bool": st.booleans(),
    "int": _SMALL,
    "tuple[str, ...]": _LISTS,
    "str | None": st.none() | _TEXTS,
    "int | None": st.none(),
    "tuple[int, int] | None": st.none() | st.tuples(_SMALL, _SMALL),
}
_BIG_FIELDS = frozenset(
    ("soft", "hard", "keep", "effective", "permitted", "inheritable", "ambient")
)


def _values(kind: type[s.Step]) -> dict[str, st.SearchStrategy[Any]]:
    found: dict[str, st.SearchStrategy[Any]] = {}
    for parent in reversed(kind.__mro__):
        for name, type_ in getattr(parent, "__annotations__", {}).items():
            if name in _BIG_FIELDS:
                found[name] = _BIG
            else:
                found[name] = _BY_NAME[name] if name in _BY_NAME else _BY_TYPE[type_]
    if kind in (s.LoadSeccomp, s.SetScheduler):
        found["flags"] = _SMALL
    found["why"] = st.just("")
    return found


steps = st.sampled_from(list(encode.ENCODERS)).flatmap(
    lambda kind: st.builds(kind, **_values(kind))
)


@given(st.lists(steps, max_size=12))
def test_what_is_encoded_is_accepted(plan_c: ctypes.CDLL, made: list[s.Step]) -> None:
    sent = encode.encode(s.Plan(steps=tuple(made)))
    buffer = ctypes.create_string_buffer(sent, len(sent))

    assert plan_c.plan_check(buffer, len(sent)) == 0


@given(_LISTS, _LISTS, _LISTS, st.lists(steps, max_size=3))
def test_a_command_is_read_as_it_was_meant(
    plan_c: ctypes.CDLL,
    paths: tuple[str, ...],
    argv: tuple[str, ...],
    env: tuple[str, ...],
    before: list[s.Step],
) -> None:
    last = s.Exec(paths=paths, argv=argv, env=env)
    sent = encode.encode(s.Plan(steps=(*before, last)))
    buffer = ctypes.create_string_buffer(sent, len(sent))
    step = plan_c.plan_first(buffer)
    for _ in before:
        step = plan_c.plan_next(step)
    head = encode.STEP_HEAD.unpack(ctypes.string_at(step, encode.STEP_HEAD.size))

    for offset, expected in zip(head[3:6], (paths, argv, env), strict=True):
        pointers = plan_c.list_of(step, offset)
        assert [pointers[n] for n in range(len(expected))] == [os.fsencode(t) for t in expected]
        assert pointers[len(expected)] is None


@given(_TEXTS)
def test_a_text_is_read_as_it_was_meant(plan_c: ctypes.CDLL, text: str) -> None:
    sent = encode.encode(s.Plan(steps=(s.SetHostname(hostname=text),)))
    buffer = ctypes.create_string_buffer(sent, len(sent))
    step = plan_c.plan_first(buffer)
    head = encode.STEP_HEAD.unpack(ctypes.string_at(step, encode.STEP_HEAD.size))

    assert plan_c.text_of(step, head[3]) == os.fsencode(text)


def test_a_plan_may_have_as_many_steps_as_c_takes_and_no_more(plan_c: ctypes.CDLL) -> None:
    step = encode.encode_step(s.NewSession())
    most = encode.join(encode.MOST_STEPS, step * encode.MOST_STEPS)
    more = encode.PLAN_HEAD.pack(encode.MAGIC, len(most) + len(step), encode.MOST_STEPS + 1)

    assert plan_c.plan_check(ctypes.create_string_buffer(most, len(most)), len(most)) == 0
    forged = more + most[encode.PLAN_HEAD.size :] + step
    assert plan_c.plan_check(ctypes.create_string_buffer(forged, len(forged)), len(forged)) < 0


@pytest.mark.parametrize("step", SAMPLES, ids=lambda step: type(step).__name__)
def test_a_step_without_a_text_that_it_needs_is_refused(plan_c: ctypes.CDLL, step: s.Step) -> None:
    sent = bytearray(encode.encode(s.Plan(steps=(step,))))
    head = encode.STEP_HEAD.unpack_from(sent, encode.PLAN_HEAD.size)
    optional = {(s.MountOverlay, 5), (s.SetUser, 3), (s.SetCapabilities, 3), (s.NewKeyring, 3)}
    for field in (3, 4, 5):
        if not head[field] or (type(step), field) in optional:
            continue
        forged = [*head[:field], 0, *head[field + 1 :]]
        encode.STEP_HEAD.pack_into(sent, encode.PLAN_HEAD.size, *forged)
        buffer = ctypes.create_string_buffer(bytes(sent), len(sent))

        assert plan_c.plan_check(buffer, len(sent)) < 0


# ---- bytes that no encoder makes ----

EDGES = (0, 1, 7, 8, 55, 56, 57, 63, 64, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutants(count: int, seed: int, plan: s.Plan) -> Iterator[bytes]:
    """Damaged plans: bits flipped, words put to edges, cut, doubled, with heads that still fit."""
    dice = random.Random(seed)
    whole = encode.encode(plan)
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            _damage(data, dice)
        if dice.random() < 0.8 and len(data) >= 16:  # else most would stop at the first check
            encode.PLAN_HEAD.pack_into(
                data, 0, encode.MAGIC, len(data), int.from_bytes(data[12:16], "little")
            )
        yield bytes(data)


def _damage(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data)) if data else 0
    kind = dice.randrange(5)
    if kind == 0 and data:
        data[at] ^= 1 << dice.randrange(8)
    elif kind == 1 and len(data) >= 24:
        struct.pack_into("=I", data, at // 4 * 4 % (len(data) - 3), dice.choice(EDGES))
    elif kind == 2 and len(data) >= 24:
        value = dice.choice(EDGES) << dice.choice((0, 32))
        struct.pack_into("=Q", data, at // 8 * 8 % (len(data) - 7), value & (2**64 - 1))
    elif kind == 3:
        del data[at // 8 * 8 :]
    else:
        data[at:at] = bytes(dice.randrange(256) for _ in range(dice.choice((1, 8, 64))))


@pytest.mark.timeout(300)
def test_no_plan_is_read_beyond_its_end(tmp_path: Path) -> None:
    require("asan")
    program = tmp_path / "driver"
    sanitize = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [HERE / "plan_driver.c", NATIVE / "plan.c"]
    subprocess.run([*FREESTANDING, *sanitize, *sources, "-o", program], check=True)
    plans = list(mutants(20_000, 1, s.Plan(steps=SAMPLES)))
    for step in SAMPLES:  # alone, so that nearly every damage hits its head or its text
        plans += mutants(300, 2, s.Plan(steps=(step,)))
    fed = b"".join(struct.pack("=I", len(plan)) + plan for plan in plans)
    done = subprocess.run([program], input=fed, capture_output=True)

    assert (done.returncode, done.stderr.decode()) == (0, "")
    sound, refused, _ = map(int, done.stdout.split())
    assert sound + refused == len(plans)
    assert sound > 2_000, "too few get past the first check to try what is behind it"


FOUND = 99  #: how a sanitizer ends what it finds something in


class Fuzzed:
    """A newroot-init under the sanitizers, as root of a user namespace that owns nothing."""

    def __init__(self, program: Path, words: Path) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        owner = os.pidfd_open(os.getpid())
        opened = os.open(program, os.O_RDONLY)  # its directory may be closed to others
        self.null = os.open(os.devnull, os.O_RDWR)
        self.words = os.open(words, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fds = (theirs.fileno(), owner, opened)
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        alone = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--uts", "--ipc"]
        script = f'exec "$@" 3<&{fds[0]} 4<&{fds[1]} 9<&{fds[2]}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *(nobody if os.geteuid() == 0 else []), *alone,
             "--", "/proc/self/fd/9"],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=self.words,
            stderr=self.words,
            env={
                "PATH": os.environ["PATH"],
                "ASAN_OPTIONS": f"detect_leaks=0:exitcode={FOUND}",
                "UBSAN_OPTIONS": f"exitcode={FOUND}:print_stacktrace=1",
            },
        )  # fmt: skip
        theirs.close()
        os.close(owner)
        os.close(opened)

    def carry_out(self, plan: bytes, clone_flags: int) -> tuple[int, int]:
        """How the plan's process ended: si_code and the value beside it."""
        memory = os.memfd_create("plan")
        os.write(memory, plan)
        report, their_report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status, their_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = launcher.REQUEST.pack(launcher.REQUEST_MAGIC, 0, clone_flags, 0, 0)
        mine = [memory, their_report.fileno(), their_status.fileno()]
        fds = array.array("i", [*mine, self.null, self.null, self.words])
        self.control.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        os.close(memory)
        for end in (their_report, their_status, report):  # a step that waits is told to go
            end.close()
        with status:
            return self._wait_ended(status)

    def _wait_ended(self, status: socket.socket) -> tuple[int, int]:
        while True:
            ready, _, _ = select.select([status], [], [], 20)
            assert ready, "a damaged plan hangs"
            data, fds, _, _ = socket.recv_fds(status, launcher.STATUS.size, 1)
            for fd in fds:
                os.close(fd)
            assert data, "newroot-init is gone"
            kind, _, code, value, *_ = launcher.STATUS.unpack(data)
            if kind != launcher.STATUS_STARTED:
                return code, value

    def close(self) -> int:
        self.control.close()
        os.close(self.null)
        os.close(self.words)
        return self.process.wait(20)


def _fuzzable(directory: Path) -> s.Plan:
    """All steps that do not wait for somebody; none of them can reach what is not nobody's."""
    place = str(directory)
    moved: dict[type[s.Step], s.Step] = {
        s.Unshare: s.Unshare(namespaces=("uts",)),
        s.UseRoot: s.UseRoot(path=place),
        s.Exec: s.Exec(paths=(f"{place}/nowhere",), argv=("a",)),
    }
    left_out = (
        *(s.Wait, s.MapIds, s.LoadSeccomp, s.SetRlimit, s.SetNamespace, s.JoinCgroup),
        *(s.JoinProcess, s.Birth, s.AwaitStart),
    )
    order = [step for step in SAMPLES if not isinstance(step, left_out)]
    return s.Plan(steps=tuple(moved.get(type(step), step) for step in order))


@needs("userns", "util-linux", "bash")
@pytest.mark.timeout(300)
def test_no_plan_makes_newroot_init_stumble(sanitized_init: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    fuzzed = Fuzzed(sanitized_init, words)
    base = _fuzzable(tmp_path)
    plans = [*mutants(300, 3, base)]
    for step in base.steps:
        root = s.UseRoot(path="/proc")
        last = s.Exec(paths=("/nowhere",), argv=("a",))
        plans += mutants(12, 4, s.Plan(steps=(root, step, last)))
    namespaces = k.CLONE_NEWNS | k.CLONE_NEWPID | k.CLONE_NEWUTS | k.CLONE_NEWIPC
    try:
        ends = [fuzzed.carry_out(plan, namespaces) for plan in plans]
        sound = encode.encode(s.Plan(steps=(s.Exec(paths=("/bin/true",), argv=("true",)),)))
        at_last = fuzzed.carry_out(sound, namespaces)
    finally:
        ended = fuzzed.close()

    said = words.read_text()
    assert "Sanitizer" not in said, said
    assert "runtime error" not in said, said
    assert [end for end in ends if end[1] == FOUND] == []
    assert (at_last, ended) == ((1, 0), 0), "the launcher goes on, and ends as it should"


@needs("userns", "util-linux", "bash")
def test_a_damaged_request_is_refused_and_the_next_one_served(
    sanitized_init: Path, tmp_path: Path
) -> None:
    fuzzed = Fuzzed(sanitized_init, tmp_path / "words")
    dice = random.Random(5)
    sound = launcher.REQUEST.pack(launcher.REQUEST_MAGIC, 0, 0, 0, 0)
    try:
        for _ in range(200):
            data = bytearray(sound)
            _damage(data, dice)
            data = data if len(data) and bytes(data) != sound else bytearray(b"x")
            count = dice.randrange(6)
            fds = array.array("i", [fuzzed.null] * count)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if count else []
            fuzzed.control.sendmsg([bytes(data)], rights)
        command = s.Exec(paths=("/bin/true",), argv=("true",))
        at_last = fuzzed.carry_out(encode.encode(s.Plan(steps=(command,))), 0)
    finally:
        ended = fuzzed.close()

    assert (at_last, ended, (tmp_path / "words").read_text()) == ((1, 0), 0, "")
