"""criu(8) by its own protocol: ``criu swrk``, requests and answers as Protocol Buffers on a socket.

That is how runc speaks to it: the command line can hand over no terminal, and tells nobody when a
restored process is there.  Of Protocol Buffers only what criu's rpc.proto needs is here: numbers,
and strings of bytes, which other messages are.  Assumes a caller that is cold: it imports much.
"""

from __future__ import annotations

import os

from newroot.errors import NewrootError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from socket import socket as Socket

    Value = int | str | bytes
    Message = dict[int, list[int | bytes]]
    #: Told what criu does, of which process, and given the descriptor that came with it.
    OnNotify = Callable[[str, int, int | None], None]

#: criu_req_type
DUMP, RESTORE, CHECK, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 3, 4, 6, 9, 10
#: criu_opts: what its fields are called in criu's rpc.proto.
FIELDS = {
    "images_dir_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "evasive_devices": 6,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "ps": 11,
    "notify_scripts": 12,
    "root": 13,
    "parent_img": 14,
    "track_mem": 15,
    "auto_dedup": 16,
    "work_dir_fd": 17,
    "link_remap": 18,
    "ext_mnt": 23,
    "manage_cgroups": 24,
    "cg_root": 25,
    "rst_sibling": 26,
    "inherit_fd": 27,
    "manage_cgroups_mode": 34,
    "external": 37,
    "empty_ns": 38,
    "join_ns": 39,
    "freeze_cgroup": 44,
    "tcp_skip_in_flight": 46,
    "lazy_pages": 48,
    "status_fd": 49,
    "orphan_pts_master": 50,
    "config_file": 51,
    "tcp_close": 52,
    "lsm_profile": 53,
    "lsm_mount_context": 55,
}
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
OLDEST = (3, 11)  #: the first that knows a network namespace that is not the container's own

_MOST = 10 * 4096  #: the longest answer


def encode(fields: Iterable[tuple[int, Value]]) -> bytes:
    """A message of *fields*, each a number and its value."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        else:
            data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return bytes(out)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes) -> Message:
    """The fields of a message, by number.  Raises NewrootError for what is none."""
    found: Message = {}
    at = 0
    try:
        while at < len(data):
            key, at = _read_varint(data, at)
            if key & 7 == 0:
                value: int | bytes
                value, at = _read_varint(data, at)
            elif key & 7 == 2:
                size, at = _read_varint(data, at)
                value, at = data[at : at + size], at + size
                if at > len(data):
                    raise IndexError
            else:
                raise NewrootError(f"read criu's answer: a field of the kind {key & 7}")
            found.setdefault(key >> 3, []).append(value)
    except IndexError:
        raise NewrootError("read criu's answer: it ends before its time") from None
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise NewrootError("read criu's answer: a number without an end")


def find_criu(name: str) -> str:
    """The program, where root finds it.  Raises UnsupportedError."""
    import shutil

    path = os.environ.get("PATH") or os.defpath
    found = shutil.which(name, path=f"{path}:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise UnsupportedError(
            f"checkpoint and restore: there is no {name} on this host",
            feature="criu",
            tried=f"looked for {name} on the PATH",
            hint="install criu, or name it: newroot-oci --criu FILE",
        )
    return found


class Criu:
    """``criu swrk``: one request, with the news until it is answered."""

    def __init__(self, program: str, stdio: Sequence[int] = (0, 1, 2)) -> None:
        self._program = find_criu(program)
        self._stdio = stdio

    def version(self) -> tuple[int, int]:
        """Its version.  Raises UnsupportedError for one that is too old."""
        answer = self.ask(VERSION)
        told = decode(_bytes(answer, 10))
        found = _int(told, 1), _int(told, 2)
        if found < OLDEST:
            raise UnsupportedError(
                f"checkpoint and restore: criu {found[0]}.{found[1]} is too old",
                feature="criu",
                hint=f"{OLDEST[0]}.{OLDEST[1]} or newer",
            )
        return found

    def ask(
        self,
        kind: int,
        options: Iterable[tuple[str, Value]] = (),
        *,
        on_notify: OnNotify | None = None,
        prepare: Callable[[int], Iterable[tuple[str, Value]]] | None = None,
        keep: Sequence[int] = (),
    ) -> Message:
        """Send a request and return the answer; *keep* are descriptors that criu has too.

        *prepare* is told criu's process id and gives further options.  Whether criu says yes or no
        is in the answer: ``is_yes()``.
        """
        import socket
        import subprocess

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                # An inheritable number of its own: swrk takes any.
                os.set_inheritable(theirs.fileno(), True)
                child = subprocess.Popen(
                    [self._program, "swrk", str(theirs.fileno())],
                    stdin=self._stdio[0],
                    stdout=self._stdio[1],
                    stderr=self._stdio[2],
                    pass_fds=(theirs.fileno(), *keep),
                )
            try:
                more = prepare(child.pid) if prepare is not None else ()
                fields = [(FIELDS[name], value) for name, value in (*options, *more)]
                request: list[tuple[int, Value]] = [(1, kind)]
                if fields:
                    request.append((2, encode(fields)))
                ours.send(encode(request))
                return self._answer(ours, on_notify)
            finally:
                ours.close()  # it ends
                child.wait()

    def _answer(self, sock: Socket, on_notify: OnNotify | None) -> Message:
        import socket

        while True:
            data, rights, _, _ = sock.recvmsg(_MOST, socket.CMSG_SPACE(4 * 16))
            fds = _descriptors(rights)
            try:
                if not data:
                    raise NewrootError("criu ended without an answer")
                answer = decode(data)
                if _int(answer, 1) != NOTIFY or not is_yes(answer):
                    return answer
                told = decode(_bytes(answer, 5))
                if on_notify is not None:
                    script = _bytes(told, 1).decode("ascii", "replace")
                    on_notify(script, _int(told, 2), fds.pop(0) if fds else None)
            finally:
                for fd in fds:
                    os.close(fd)
            sock.send(encode([(1, NOTIFY), (3, 1)]))


def is_yes(answer: Message) -> bool:
    """Whether criu did what it was asked for; its log says more."""
    return bool(_int(answer, 2))


def _why(answer: Message) -> str:
    words = _bytes(answer, 9).decode("utf-8", "replace")
    number = _int(answer, 7)
    return words or (os.strerror(number) if number else "it does not say why")


def _int(message: Message, field: int) -> int:
    value = message.get(field, [0])[-1]
    return value if isinstance(value, int) else 0


def _bytes(message: Message, field: int) -> bytes:
    value = message.get(field, [b""])[-1]
    return value if isinstance(value, bytes) else b""


def restored_pid(answer: Message) -> int:
    """The process that a RESTORE came to, as our own pid namespace counts."""
    return _int(decode(_bytes(answer, 4)), 1)


def _descriptors(rights: Iterable[tuple[int, int, bytes]]) -> list[int]:
    import array
    import socket

    fds = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def errors_in(log: str) -> str:
    """The last lines of criu's *log* that are errors, as one."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().partition("Error ")[2] for line in file if "Error " in line]
    except OSError:
        return ""
    return "; ".join(lines[-3:])


def failed(criu: Criu, what: str, answer: Message, log: str) -> NewrootError:
    """What to raise for criu's *answer*: it cannot work on this host at all, or not with this."""
    import tempfile

    said = errors_in(log) or _why(answer)
    with tempfile.TemporaryDirectory(prefix="newroot-criu-") as directory:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            works = is_yes(criu.ask(CHECK, [("images_dir_fd", fd)]))
        finally:
            os.close(fd)
    if works:
        return NewrootError(f"{what} by criu: {said}", hint=f"{log} says more")
    return UnsupportedError(
        f"{what} by criu: criu does not work on this host: {said}",
        feature="criu",
        tried="criu check",
        hint=f"criu check says more, and {log}",
    )
