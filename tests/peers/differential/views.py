"""Run a bundle by a runtime, and make facts of what it did, by which two runtimes are compared.

An ``Outcome`` is flat: names of facts, and their values as words, with nothing in it that differs
between two runs of the same runtime (numbers of mounts and namespaces, directories of the test).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from newroot.linux.mountinfo import parse_mountinfo

HERE = Path(__file__).parent

#: No container of ours takes longer; what hangs is a fault.
TIMEOUT_S = 20

_STATUS = (
    *("Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Seccomp_filters", "NSpid"),
    *("SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"),
    *("Cpus_allowed_list", "Mems_allowed_list", "CoreDumping", "THP_enabled"),
)

_OF_GLIBC = 0b11 << 31


class Host:
    """A host to try runtimes on: mounts, a hostname, a network and an IPC namespace of its own.

    What a runtime does wrong there does not reach the machine.  (runc 1.1 mounts on the host when
    a bundle has no mount namespace.)  The mounts are private, as if the machine's were.
    """

    KINDS = ("mount", "uts", "ipc", "net")

    def __init__(self, *setup: str) -> None:
        script = " && ".join((*setup, "ip link set lo up", "echo ready", "exec cat"))
        self._holder = subprocess.Popen(
            ["unshare", *(f"--{kind}" for kind in self.KINDS), "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    @property
    def prefix(self) -> list[str]:
        """What stands before a command that is to run on this host."""
        kinds = (f"--{kind}" for kind in self.KINDS)
        return ["nsenter", "--target", str(self._holder.pid), *kinds, "--"]

    def namespace(self, kind: str) -> str:
        """Which namespace of *kind* its processes are in."""
        return os.readlink(f"/proc/{self._holder.pid}/ns/{kind}")

    def run(self, *command: str) -> str:
        """What *command* prints there."""
        return subprocess.run(
            [*self.prefix, *command], check=True, capture_output=True
        ).stdout.decode()

    def close(self) -> None:
        """End it; its mounts go with it."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait(timeout=TIMEOUT_S)
        assert self._holder.stdout is not None
        self._holder.stdout.close()


#: /sys/fs/cgroup is cgroup v2 alone there, as with systemd; what v1 holds has no limits on it.
PURE_CGROUP2 = (
    "umount -R /sys/fs/cgroup",
    "mount -t cgroup2 none /sys/fs/cgroup",
)


@dataclass(frozen=True)
class Runtime:
    """A runtime's command line, up to its command."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, host: Host, state: Path, *words: str, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``RUNTIME --root STATE WORDS`` on *host*."""
        return subprocess.run(
            [*host.prefix, *self.command, "--root", str(state), *words],
            env={**os.environ, **self.environment},
            **{
                "stdin": subprocess.DEVNULL,
                "capture_output": True,
                "timeout": TIMEOUT_S,
                **options,
            },
        )


@dataclass(frozen=True)
class Outcome:
    """What a bundle came to: every fact that was seen, by name."""

    facts: dict[str, str]
    errors: str  #: what the runtime said, for a person

    @property
    def failed(self) -> bool:
        """Whether the runtime refused, or could not start it."""
        return self.facts["outcome"] == "refused"


class Kit:
    """The files that every run starts from: the view program and a root that it stands in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.view = directory / "view"
        subprocess.run(
            ["gcc", "-std=gnu11", "-O2", "-static", "-o", self.view, HERE / "view.c"], check=True
        )
        self.template = directory / "rootfs"
        fill_rootfs(self.template, self.view)

    def bundle(self, config: dict[str, Any], where: Path) -> Path:
        """A bundle of its own, with a root of its own, for runtimes leave things in it."""
        rootfs = where / "rootfs"
        # Hard links to files, for the program is 800 KB.
        shutil.copytree(self.template, rootfs, symlinks=True, copy_function=os.link)
        (where / "config.json").write_text(json.dumps(config))
        return where


def fill_rootfs(rootfs: Path, view: Path) -> None:
    """A root with one of everything that a mount may meet."""
    for name in (
        "bin",
        "dev",
        "etc",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "full/deep",
        "empty",
        "nodes",
    ):
        (rootfs / name).mkdir(parents=True)
    os.chmod(rootfs / "tmp", 0o1777)
    os.chmod(rootfs / "full", 0o750)
    (rootfs / "full/file").write_text("a file\n")
    (rootfs / "full/deep/file").write_text("a deep file\n")
    os.chmod(rootfs / "full/deep/file", 0o4711)
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    (rootfs / "etc/group").write_text("root:x:0:\n")
    (rootfs / "full/link").symlink_to("../../../../etc/passwd")
    os.mknod(rootfs / "nodes/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.chown(rootfs / "full/deep", 5, 6)
    os.chown(rootfs / "full/link", 7, 8, follow_symlinks=False)
    (rootfs / "link").symlink_to("full")
    (rootfs / "absolute").symlink_to("/full/deep")
    (rootfs / "dangling").symlink_to("/nowhere/at/all")
    (rootfs / "out").symlink_to("../../../../../../../../tmp")
    (rootfs / "script").write_text("#!/view\n")
    (rootfs / "data").write_text("no program\n")
    os.chmod(rootfs / "script", 0o755)
    os.link(view, rootfs / "view")


def run(kit: Kit, host: Host, runtime: Runtime, config: dict[str, Any], **options: Any) -> Outcome:
    """Run *config* by *runtime* on *host*."""
    with bundle_of(kit, runtime, config) as bundle:
        done = runtime(host, bundle / "state", "run", "--bundle", str(bundle), "case", **options)
        return outcome(done, bundle, host)


@contextmanager
def bundle_of(kit: Kit, runtime: Runtime, config: dict[str, Any]) -> Iterator[Path]:
    """A bundle of *config* for *runtime*, with room for its state beside it."""
    with tempfile.TemporaryDirectory(dir=kit.directory, prefix=f"{runtime.name}-") as directory:
        top = Path(directory)
        os.chmod(top, 0o755)
        yield kit.bundle(placed(config, top), top)


def placed(config: dict[str, Any], bundle: Path) -> dict[str, Any]:
    """*config* with what it leaves open: the test's own directory and process."""
    text = json.dumps(config).replace("@BUNDLE@", str(bundle)).replace("@PID@", str(os.getpid()))
    return json.loads(text)  # type: ignore[no-any-return]


def outcome(done: subprocess.CompletedProcess[bytes], bundle: Path, host: Host) -> Outcome:
    """What *done*, and the bundle after it, say."""
    said, errors = done.stdout.decode(), done.stderr.decode(errors="replace")
    facts = {"outcome": "refused"}
    if said.startswith("{"):
        facts = {"outcome": f"exit {done.returncode}"}
        view, _, more = said.partition("\n")
        facts |= flat(json.loads(view), host)
        facts["stdout"] = more
    facts |= {f"left/{name}": words for name, words in tree(bundle / "rootfs").items()}
    place = re.compile(f"{re.escape(os.path.realpath(bundle))}|(?<=newroot-test-){os.getpid()}")
    return Outcome({name: place.sub("OWN", words) for name, words in facts.items()}, errors)


def flat(view: dict[str, Any], host: Host) -> dict[str, str]:
    """The view's facts by name, without what must differ."""
    facts = _mounts(view.pop("mountinfo")) | _status(view.pop("status"))
    for kind, link in view.pop("namespaces").items():
        if link is not None:
            facts[f"namespace/{kind}"] = "host" if link == host.namespace(kind) else "other"
    facts["keyring"] = re.sub(r"_ses\.\w+$", "_ses.ID", view.pop("keyring"))
    if facts.get("namespace/pid") == "host":
        for name in ("pid", "parent"):
            view["process"][name] = "a number of the host's"
        facts["status/NSpid"] = "a number of the host's"
    for name, value in view.items():
        if isinstance(value, dict):
            facts |= {f"{name}/{key}": _words(word) for key, word in value.items()}
        else:
            facts[name] = str(value)
    return facts


def _words(value: Any) -> str:
    """*value* as words; a directory's entries without their order, which is the file system's."""
    return str(dict(sorted(value.items()))) if isinstance(value, dict) else str(value)


def _mounts(mountinfo: Any) -> dict[str, str]:
    if not isinstance(mountinfo, str):
        return {"mount": "no /proc"}
    found: dict[str, str] = {}
    for mount in parse_mountinfo(mountinfo):
        name = f"mount{mount.mount_point}"
        while name in found:  # one on top of the other
            name += "+"
        found[name] = (
            f"{mount.root} of {mount.fstype} {mount.source} {','.join(sorted(mount.options))}"
            f" {mount.propagation} [{','.join(sorted(mount.super_options))}]"
        )
    return found


def _status(status: Any) -> dict[str, str]:
    if not isinstance(status, str):
        return {}
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    # 32 and 33 are glibc's own: runc hands on what its caller made of them, and a C library that
    # spawned the tests leaves them ignored (sysdeps/unix/sysv/linux/spawni.c).
    fields["SigIgn"] = f"{int(fields['SigIgn'], 16) & ~_OF_GLIBC:016x}"
    return {f"status/{name}": fields[name].strip() for name in _STATUS if name in fields}


def tree(top: Path) -> dict[str, str]:
    """Every file below *top*: what a runtime has left in the bundle's root."""
    found = {}
    for directory, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            seen = os.lstat(path)
            found[os.path.relpath(path, top)] = (
                f"{stat.filemode(seen.st_mode)} {seen.st_uid}:{seen.st_gid}"
            )
    return found


def remove_cgroups(name: str) -> None:
    """Remove what runtimes leave: the empty cgroups called *name*, above the containers' own."""
    for directory, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if name in directory.split("/"):
            os.rmdir(directory)
