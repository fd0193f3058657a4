"""Sequences of commands to newroot-oci and to runc: the same succeeds, and prints the same.

A sequence is a table row: words after ``RUNTIME --root STATE``.  ``until STATUS`` waits for it;
``say NAME VALUE`` changes the bundle's config.  runtime.md says what each must come to.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from differential.bundles import BASE, Config
from differential.views import Host, Kit, Runtime, bundle_of
from engines import wait_until

from newroot.testing.needs import needs

pytestmark = [needs("root", "gcc", "runc"), pytest.mark.timeout(60)]

CREATE = "create --bundle @ case"

#: Name, and the commands; "!" before one that must fail.
SEQUENCES: dict[str, list[str]] = {
    "a life": [
        *(CREATE, "state case", "start case", "state case", "list --format json", "list --quiet"),
        *("kill case TERM", "until stopped", "state case", "delete case", "!state case"),
    ],
    "never started": [CREATE, "kill case KILL", "until stopped", "!start case", "delete case"],
    "deleted before it was started": [CREATE, "delete --force case", "!state case"],
    "force ends it": [CREATE, "start case", "delete --force case", "!state case"],
    "force of what is not there": ["delete --force case"],
    "no such container": [
        *("!state case", "!start case", "!kill case KILL", "!delete case", "!pause case"),
        *("!resume case", "!exec case /view", "!ps case", "!events --stats case", "!update case"),
    ],
    "started twice": [CREATE, "start case", "!start case", "state case"],
    "created twice": [CREATE, "!" + CREATE, "state case"],
    "deleted while it runs": [CREATE, "start case", "!delete case", "state case"],
    "killed when it has ended": [
        *(CREATE, "start case", "kill case KILL", "until stopped", "!kill case TERM"),
    ],
    "signal 0 asks": [CREATE, "start case", "kill case 0", "state case"],
    "an id again": [CREATE, "delete --force case", CREATE, "state case", "start case"],
    "signals by name and number": [
        *(CREATE, "start case", "kill case SIGWINCH", "kill case WINCH", "kill case 28"),
        *("!kill case NOTHING", "!kill case 999", "state case"),
    ],
    "a config that changes after create": [
        *(
            CREATE,
            "say hostname other",
            "start case",
            "exec case /view read:/proc/sys/kernel/hostname",
        ),
    ],
    "a config that cannot be": [
        "say hostname 5",
        "!" + CREATE,
        "!state case",
        "list --format json",
    ],
    "a process that cannot be": [
        *("say process.args ['/nowhere']", "!run --bundle @ case", "!state case"),
    ],
    "no bundle": ["!create --bundle /nowhere case"],
    "no id": ["!create --bundle @", "!state", "!start", "!kill", "!delete"],
    "ids that are none": [
        *("!create --bundle @ a/b", "!create --bundle @ ..", "!create --bundle @ .", "!state ../x"),
    ],
    "pause and resume": [
        *(CREATE, "start case", "pause case", "state case", "!pause case", "resume case"),
        *("state case", "!resume case"),
    ],
    "paused, and ended": [CREATE, "start case", "pause case", "delete --force case"],
    "created, and paused": [CREATE, "pause case", "state case", "resume case", "start case"],
    "processes": [CREATE, "start case", "ps --format json case", "ps case"],
    "exec": [
        *(
            CREATE,
            "start case",
            "!exec case /view exit:5",
            "exec case /view",
            "!exec case /nowhere",
        ),
        *("exec --cwd /tmp --user 5:6 --env A=b --cap CAP_KILL case /view",),
    ],
    "flags of exec": [
        *(CREATE, "start case"),
        "exec --additional-gids 7 --additional-gids 8 --user 5 case /view",
        "exec --no-new-privs --cap CAP_NET_RAW --cap CAP_KILL case /view",
        "exec --env HOME=/x --env A= --env A=b case /view",
        "!exec --env NONE case /view",
        "!exec --env =value case /view",
        "exec --user 1000 case /view",
        "!exec --user nobody case /view",
        "!exec --cwd relative case /view",
        "exec --cap CAP_NOVELTY case /view",
        "!exec --apparmor some case /view",
        "!exec --process-label some:label case /view",
        "!exec --process /nowhere case",
        "!exec --cgroup /nowhere case /view",
        "!exec --cgroup ../.. case /view",
        "!exec case",
        "!exec --console-socket /nowhere case /view",
        "pause case",
        "!exec --cgroup / case /view",
        "resume case",
        "exec --cgroup / case /view",
    ],
    "flags of run": [
        "run --detach --no-pivot --bundle @ case",
        *("state case", "exec case /view", "delete --force case"),
        "run --detach --no-new-keyring --no-subreaper --bundle @ case",
        *("state case", "exec case /view", "delete --force case"),
        "run --detach --pid-file @/pid --bundle @ case",
        *("!run --detach --bundle @ case", "delete --force case"),
        "!create --console-socket @/none --bundle @ case",
        "!create --preserve-fds 7 --bundle @ case",
        "!create --bundle @ --pid-file /nowhere/at/all case",
        "!state case",
    ],
    "run that keeps what has ended": [
        "say process.args ['/view']",
        "run --keep --bundle @ case",
        *("state case", "!start case", "!run --bundle @ case", "delete case", "!state case"),
        "run --bundle @ case",
        "!state case",
    ],
    "limits": [
        *(CREATE, "start case", "update --pids-limit 20 case", "update --cpu-share 200 case"),
        "update --memory 100M --memory-swap 100M case",
        "update --memory 50M case",
        "update --cpu-quota 5000 --cpu-period 10000 case",
        "update --cpuset-cpus 0 --cpuset-mems 0 case",
        "update --blkio-weight 500 case",
        "update --kernel-memory 1M case",
        "!update --memory much case",
        "!update --cpuset-cpus 4095 case",
        "!update --resources /nowhere case",
        "!update --l3-cache-schema L3:0=1 case",
        "update case",
        "events --stats case",
    ],
    "all of them": [
        *(CREATE, "start case", "exec --detach case /view wait:", "kill --all case KILL"),
        *("until stopped", "kill --all case KILL", "delete case"),
    ],
    "exec before the start": [CREATE, "exec case /view"],
    "exec when it has ended": [
        *(CREATE, "start case", "kill case KILL", "until stopped", "!exec case /view"),
    ],
    "exec in what is paused": [CREATE, "start case", "pause case", "!exec case /view"],
    "detached": ["run --detach --bundle @ case", "state case"],
    "the list of none": ["list", "list --format json", "list --quiet"],
    "words that are not known": ["!stop case", "!state --novelty case", "!state case more"],
}


def base() -> Config:
    config = copy.deepcopy(BASE)
    config["process"]["args"] = ["/view", "wait:"]
    config["annotations"] = {"org.example.key": "value"}
    return config


class Shell:
    """Commands to one runtime about one bundle."""

    def __init__(self, runtime: Runtime, host: Host, bundle: Path) -> None:
        self.runtime, self.host, self.bundle = runtime, host, bundle

    def __call__(self, line: str) -> tuple[bool, Any]:
        """Whether it succeeded, and what it printed, without what differs each time."""
        verb, *words = line.replace("@", str(self.bundle)).split()
        if verb == "until":
            wait_until(lambda: self.status() == words[0], line, 10)
            return True, None
        if verb == "say":
            self.change(words[0], line.split(None, 2)[2])
            return True, None
        output = self.bundle / "output"
        with output.open("wb") as out:
            # Not a pipe: a container that stays would hold it open.
            done = self.runtime(
                self.host, self.bundle / "state", verb, *words,
                capture_output=False, stdout=out, stderr=out,
            )  # fmt: skip
        text = output.read_text(errors="replace")
        return done.returncode == 0, self.normal(verb, text) if done.returncode == 0 else None

    def status(self) -> str:
        done = self.runtime(self.host, self.bundle / "state", "state", "case")
        return str(json.loads(done.stdout)["status"]) if done.returncode == 0 else "none"

    def change(self, place: str, value: str) -> None:
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        *way, last = place.split(".")
        here = config
        for word in way:
            here = here[word]
        here[last] = eval(value) if value[0] in "[0123456789" else value
        path.write_text(json.dumps(config))

    def normal(self, verb: str, text: str) -> Any:
        # A container that says something meanwhile says it behind what the command has said.
        text = text.replace(str(self.bundle), "BUNDLE")
        if verb == "list":
            return _list(text)
        if verb == "exec":
            said = next((line for line in text.splitlines() if line.startswith("{")), None)
            if said is None:  # it was detached
                return None
            view = json.loads(said)
            kept = ("cwd", "env", "probes", "hostname")
            status = dict(re.findall(r"^(\w+):\t(.*)$", view["status"], re.M))
            return {key: view[key] for key in kept} | {
                key: status[key]
                for key in ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Umask")
            }
        if verb == "ps":
            if text.startswith("["):
                return len(json.JSONDecoder().raw_decode(text)[0])
            return sum(line.startswith(("UID", "root")) for line in text.splitlines())
        if verb == "state":
            return _entry(json.JSONDecoder().raw_decode(text)[0])
        return None  # what the container itself says, or a warning


def _list(text: str) -> Any:
    if text.startswith("["):
        return [_entry(entry) for entry in json.loads(text)]
    if text.startswith("null"):
        return []
    return [re.split(r"\s{2,}", line)[:3] for line in text.splitlines()]


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    """A state without numbers; each runtime speaks its own version of the specification."""
    normal = {key: value for key, value in entry.items() if key not in ("ociVersion", "created")}
    assert re.match(r"\d+\.\d+\.\d+", entry["ociVersion"])
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", entry["created"])
    normal["pid"] = "a pid" if entry["pid"] else 0
    return normal


@pytest.fixture
def play(kit: Kit, host: Host) -> Callable[[Runtime, list[str]], list[tuple[str, bool, Any]]]:
    """Give commands to a runtime; afterwards the container is gone, whatever they were."""

    def play(runtime: Runtime, lines: list[str]) -> list[tuple[str, bool, Any]]:
        with bundle_of(kit, runtime, base()) as bundle:
            shell = Shell(runtime, host, bundle)
            try:
                return [(line, *shell(line.removeprefix("!"))) for line in lines]
            finally:
                runtime(host, bundle / "state", "delete", "--force", "case")

    return play


Play = Callable[[Runtime, list[str]], list[tuple[str, bool, Any]]]


@pytest.mark.parametrize("name", SEQUENCES)
def test_commands_come_to_what_they_come_to_with_runc(
    play: Play, newroot_oci: Runtime, runc: Runtime, name: str
) -> None:
    lines = SEQUENCES[name]
    ours, theirs = play(newroot_oci, lines), play(runc, lines)

    assert [(line, ok) for line, ok, _ in theirs] == [(line, line[0] != "!") for line in lines]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == other


def test_the_process_does_not_run_before_start(kit: Kit, host: Host, newroot_oci: Runtime) -> None:
    config = base()
    config["process"]["args"] = ["/view", "create:/made", "wait:"]
    with bundle_of(kit, newroot_oci, config) as bundle:
        shell = Shell(newroot_oci, host, bundle)
        try:
            assert shell(CREATE)[0]
            pid = json.loads(newroot_oci(host, bundle / "state", "state", "case").stdout)["pid"]
            assert os.path.exists(f"/proc/{pid}")
            assert not (bundle / "rootfs/made").exists()
            assert shell("start case")[0]
            wait_until((bundle / "rootfs/made").exists, "the process has run")
        finally:
            shell("delete --force case")
        assert _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Gone, or dead and not yet collected by whoever is pid 1 here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_delete_leaves_nothing(kit: Kit, host: Host, newroot_oci: Runtime) -> None:
    with bundle_of(kit, newroot_oci, base()) as bundle:
        shell = Shell(newroot_oci, host, bundle)
        for line in (CREATE, "start case", "delete --force case"):
            assert shell(line)[0]

        left = [path for path in (bundle / "state").rglob("*") if path.is_file()]
        mine = f"newroot-test-{os.getpid()}/case"
        cgroups = [place for place, _, _ in os.walk("/sys/fs/cgroup") if place.endswith(mine)]
        mounts = host.run("cat", "/proc/self/mountinfo")
    assert (left, cgroups, str(bundle) in mounts) == ([], [], False)
