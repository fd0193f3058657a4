"""What we say of namespaces and mounts is what util-linux and the kernel's own files say.

On a host with 50 containers: ours, podman's, runc's, and bare ``unshare``.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from newroot import observe
from newroot.container.pipes import PIPE
from newroot.engine import Engine
from newroot.linux.mountinfo import read_mounts
from newroot.testing.needs import needs

pytestmark = needs("root", "overlay", "busybox", "util-linux")

OURS, PODMAN, RUNC, BARE = 40, 3, 4, 3

#: Each kind of propagation, a mount on a mount, one that is hidden by what lies over its parent, a
#: source that was removed, names that have to be escaped.
TANGLE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tangle "$1"; cd "$1"
mkdir shared slave both unbindable over src src/sub src/gone gone 'with space' $'new\nline' \
      above above/below 'back\slash' '#hash' net
mount -t tmpfs s shared; mount --make-shared shared
mount --bind shared slave; mount --make-slave slave
mount --bind shared both; mount --make-slave both; mount --make-shared both
mount -t tmpfs u unbindable; mount --make-unbindable unbindable
mount -t tmpfs one over; mount -t tmpfs two over
mount --bind src 'with space'; mount --bind src/sub $'new\nline'; mount --bind src 'back\slash'
mount -t tmpfs '#source' '#hash'
mount --bind src/gone gone; rmdir src/gone
mount -t tmpfs below above/below; mount -t tmpfs above above
touch bound; unshare --net=bound true
echo ready; read -r _ || true
"""


@dataclass
class Scene:
    """Who runs: the first processes, by engine, with the names that they go by."""

    pids: dict[str, dict[str, int]] = field(default_factory=dict)
    tangled: list[int] = field(default_factory=list)
    places: list[Path] = field(default_factory=list)
    states: tuple[str, ...] = ()

    def all(self) -> list[int]:
        return [pid for named in self.pids.values() for pid in named.values()]


@pytest.fixture(scope="module")
def scene(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene()
    with ExitStack() as undo:
        scene.pids["newroot"] = dict(ours(busybox_root, undo, tmp_path_factory.mktemp("ours")))
        scene.pids["runc"] = dict(runcs(scene, undo, tmp_path_factory.mktemp("runc")))
        scene.pids["podman"] = dict(podmans(undo, Path(f"/tmp/nro-{uuid.uuid4().hex[:8]}")))
        scene.pids["bare"] = dict(bare(scene, undo, tmp_path_factory.mktemp("bare")))
        yield scene


def ours(busybox_root: Path, undo: ExitStack, root: Path) -> Iterator[tuple[str, int]]:
    for name in ("images", "layers"):
        (root / name).symlink_to(busybox_root / name)
    engine = undo.enter_context(Engine(root))
    for number in range(OURS):
        name = f"ours-{number}"
        process = engine.popen("busybox", ["cat"], stdin=PIPE, name=name, volumes={"vol": "/data"})
        undo.enter_context(process)
        yield name, process.pid


def bare(scene: Scene, undo: ExitStack, directory: Path) -> Iterator[tuple[str, int]]:
    for number in range(BARE):
        place = directory / f"bare-{number}"
        place.mkdir()
        user = ["--user", "--map-root-user"] if number == 1 else []
        process = subprocess.Popen(
            ["unshare", *user, "--mount", "--uts", "--net", "--cgroup", "bash", "-c", TANGLE,
             "bash", str(place)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        undo.callback(stop, process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        scene.tangled.append(process.pid)
        scene.places.append(place)
        yield f"bare-{number}", process.pid


def stop(process: subprocess.Popen[str]) -> None:
    process.communicate("end\n")


def runcs(scene: Scene, undo: ExitStack, directory: Path) -> Iterator[tuple[str, int]]:
    from newroot.testing.needs import require
    from newroot.testing.roots import tiny_root

    require("runc")
    root = tiny_root(directory / "root")
    states = str(directory / "state")
    scene.states = (states,)
    subprocess.run(["runc", "spec", "--bundle", directory], check=True)
    config = json.loads((directory / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sleep", "600"]}
    config["root"]["path"] = root
    for number in range(RUNC):
        name = f"newroot-test-{uuid.uuid4().hex[:8]}-{number}"
        config["linux"]["cgroupsPath"] = f"/{name}"
        (directory / "config.json").write_text(json.dumps(config))
        runc = ["runc", "--root", states]
        subprocess.run(
            [*runc, "run", "--detach", "--bundle", directory, name],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        undo.callback(subprocess.run, [*runc, "delete", "--force", name], check=True)
        said = subprocess.run([*runc, "state", name], check=True, capture_output=True)
        yield name, json.loads(said.stdout)["pid"]


def podmans(undo: ExitStack, home: Path) -> Iterator[tuple[str, int]]:
    from newroot.testing.needs import require
    from newroot.testing.roots import tiny_root

    require("podman")
    home.mkdir()
    undo.callback(remove_tree, home)
    (home / "containers.conf").write_text(
        '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=1000:1000"]\n'
        '[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
    )
    (home / "storage.conf").write_text(
        f'[storage]\ndriver="overlay"\ngraphroot="{home}/s"\nrunroot="{home}/r"\n'
    )
    environment = {
        **os.environ,
        "HOME": str(home),
        "CONTAINERS_CONF": str(home / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
    }

    def podman(*words: str) -> str:
        done = subprocess.run(
            ["podman", *words], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    root = tiny_root(home / "root")
    subprocess.run(["tar", "-C", root, "-cf", home / "root.tar", "."], check=True)
    podman("import", "-q", str(home / "root.tar"), "localhost/tiny:1")
    for _ in range(PODMAN):
        container = podman("run", "-d", "--network=none", "localhost/tiny:1", "sleep", "600")
        undo.callback(podman, "rm", "--force", "--time=0", container)
        yield container, int(podman("inspect", "--format={{.State.Pid}}", container))


def remove_tree(path: Path) -> None:
    """Conmon has podman clean up behind a container in its own time, and that mounts anew."""
    for _ in range(100):
        subprocess.run(["umount", "-q", "-l", "-R", path / "s/overlay"], check=False)
        done = subprocess.run(
            ["rm", "-rf", "--one-file-system", path], check=False, stderr=subprocess.DEVNULL
        )
        if done.returncode == 0 and not path.exists():
            return
    pytest.fail(f"{path} is in use still")


def run(*command: str | Path) -> Any:
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


# ── namespaces ───────────────────────────────────────────────────────────────────────────────


def own_ids(pids: list[int]) -> set[int]:
    """The namespaces of *pids* that this process is not in."""

    def ids(pid: int | str) -> set[str]:
        return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in os.listdir("/proc/self/ns")
                if not kind.endswith("_for_children")}  # fmt: skip

    apart = {text for pid in pids for text in ids(pid)} - ids("self")
    return {int(text.partition(":[")[2][:-1]) for text in apart}


def test_namespaces_are_those_that_lsns_lists(scene: Scene) -> None:
    wanted = own_ids(scene.all())
    listed = run("lsns", "--json", "-o", "NS,TYPE,NPROCS,PID,UID,ONS,PNS")["namespaces"]
    theirs = {
        row["ns"]: (row["type"], row["nprocs"], row["pid"], row["ons"] or 0, row["pns"] or 0)
        for row in listed
        if row["ns"] in wanted
    }
    mine = {
        found.id: (found.type, len(found.processes), found.pid, found.owner or 0, found.parent or 0)
        for found in observe.namespaces()
        if found.id in wanted
    }

    assert len(wanted) >= 5 * 50
    assert theirs == mine


def test_each_namespace_knows_the_container_that_it_belongs_to(scene: Scene) -> None:
    known = {
        pid: observe.EngineContainer(engine="newroot", id=name, name=name)
        for name, pid in scene.pids["newroot"].items()
    }
    census = observe.census(known=known, states=scene.states)
    found = {
        (namespace.container.engine, namespace.container.id): namespace.pid
        for namespace in census.namespaces
        if namespace.type == "mnt" and namespace.container is not None
    }

    for engine in ("newroot", "runc", "podman"):
        for name, pid in scene.pids[engine].items():
            assert found[engine, name] == pid
    hosts = {os.readlink(f"/proc/self/ns/{kind}") for kind in os.listdir("/proc/self/ns")}
    assert [n for n in census.namespaces if n.container and f"{n.type}:[{n.id}]" in hosts] == []


def test_a_namespace_without_a_process_is_known_by_its_descriptor_or_its_mount(
    scene: Scene,
) -> None:
    child = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--net", "cat"], stdin=subprocess.PIPE
    )
    try:
        subprocess.run(["true"], check=True)
        while os.readlink(f"/proc/{child.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            os.sched_yield()
        fd = os.open(f"/proc/{child.pid}/ns/net", os.O_RDONLY)
    finally:
        child.communicate()
    try:
        number = os.fstat(fd).st_ino
        census = observe.census()
    finally:
        os.close(fd)
    kept = census.find(number)
    assert kept is not None
    assert (kept.type, kept.processes, kept.command) == ("net", (), "")
    assert kept.kept_by == (
        observe.Keeper(kind="descriptor", pid=os.getpid(), path=f"/proc/{os.getpid()}/fd/{fd}"),
    )
    # Its user namespace has neither process nor descriptor: only the one that it owns keeps it.
    assert kept.owner is not None
    owner = census.find(kept.owner)
    assert owner is not None
    assert [(k.kind, k.child) for k in owner.kept_by] == [("child", number)]

    bound = [n for n in census.namespaces if n.type == "net" and not n.processes and n.id != number]
    paths = {keeper.path for n in bound for keeper in n.kept_by}
    assert paths >= {f"{place}/bound" for place in scene.places}


def test_processes_that_vanish_during_the_look_are_left_out(scene: Scene) -> None:
    storm = subprocess.Popen(
        ["bash", "-c", "while :; do for i in 1 2 3 4 5; do unshare -n true & done; wait; done"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wanted = own_ids(scene.pids["podman"].values())  # type: ignore[arg-type]
    try:
        for _ in range(10):
            census = observe.census()
            assert wanted <= {namespace.id for namespace in census.namespaces}
    finally:
        storm.kill()
        storm.wait()


def test_nobody_sees_its_own_namespaces_and_is_told_what_it_does_not_see(scene: Scene) -> None:
    pid = next(iter(scene.pids["runc"].values()))

    program = f"""
import json, os, sys
sys.path[:] = {sys.path!r}
from newroot import observe

def look():
    census, table = observe.census(), observe.mounts({pid})
    own = sorted(namespace.type for namespace in census.of_process(os.getpid()))
    return own, len(census.unread), len(table)

look()  # what has to be imported nobody may not be able to read
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
print(json.dumps(look()))
"""
    types, unread, mounts = run(sys.executable, "-I", "-S", "-c", program)

    assert types == ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
    assert unread >= 50
    assert mounts == len(read_mounts(pid))  # a mount table is everybody's to read


# ── mounts ───────────────────────────────────────────────────────────────────────────────────


def flat(rows: list[dict[str, Any]], depth: int = 0) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        options = row["options"].split(",")
        yield depth, row["target"], row["source"], row["fstype"], options, row["propagation"]
        yield from flat(row.get("children", []), depth + 1)


def test_mounts_are_the_tree_that_findmnt_shows(scene: Scene, newroot_command: str) -> None:
    for pid in [*scene.tangled, *list(scene.pids["podman"].values())[:1], scene.all()[0]]:
        columns = "TARGET,SOURCE,FSTYPE,OPTIONS,PROPAGATION"
        theirs = run("findmnt", "--json", "--task", str(pid), "-o", columns)["filesystems"]
        mine = run(newroot_command, "mounts", str(pid), "--format", "json")["filesystems"]

        assert [as_findmnt(row) for row in flat(mine)] == list(flat(theirs))


def as_findmnt(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """findmnt says of an unbindable mount that it is private as well, and calls a slave so."""
    return (*row[:-1], {"shared,slave": "shared,slave", "slave": "private,slave",
                        "unbindable": "private,unbindable"}.get(row[-1], row[-1]))  # fmt: skip


def test_every_line_of_mountinfo_is_there_once(scene: Scene) -> None:
    for pid in scene.all():
        seen = observe.mounts(pid)

        assert sorted(m.mount.id for m in seen) == sorted(m.id for m in read_mounts(pid))


def test_what_lies_over_another_hides_it(scene: Scene) -> None:
    seen = observe.mounts(scene.tangled[0])
    hidden = {(m.mount.mount_point.rpartition("/")[2], m.mount.source) for m in seen if m.hidden}

    assert hidden >= {("over", "one"), ("below", "below")}
    theirs = {("shm", "tmpfs"), ("pts", "devpts")}  # a host may have mounted these twice
    assert hidden - theirs == {("over", "one"), ("below", "below")}


def test_names_and_removed_sources_come_out_as_they_are(scene: Scene) -> None:
    seen = {m.mount.mount_point.rpartition("/")[2]: m for m in observe.mounts(scene.tangled[0])}

    assert {"with space", "new\nline", "back\\slash", "#hash"} <= set(seen)
    assert seen["#hash"].mount.source == "#source"
    assert seen["gone"].mount.root == "/src/gone//deleted"
    kinds = {
        name: seen[name].mount.propagation for name in ("shared", "slave", "both", "unbindable")
    }
    assert list(kinds.values()) == ["shared", "slave", "shared,slave", "unbindable"]
    assert seen["slave"].mount.master == seen["shared"].mount.shared == seen["both"].mount.master


def test_a_bind_is_traced_to_the_directory_of_the_host_that_it_shows(scene: Scene) -> None:
    pid = scene.pids["newroot"]["ours-0"]
    data = next(m for m in observe.mounts(pid) if m.mount.mount_point == "/data")

    assert data.origin is not None
    assert data.origin.proven
    inside = os.stat(f"/proc/{pid}/root/data")
    assert os.path.samestat(os.stat(data.origin.path), inside)
    assert data.origin.path.endswith("/volumes/vol/data")
    assert (data.origin.dev, data.origin.inode) == (inside.st_dev, inside.st_ino)


def test_an_overlay_is_opened_into_the_layers_of_its_image(
    scene: Scene, busybox_root: Path
) -> None:
    top = observe.mounts(scene.pids["newroot"]["ours-0"])[0]
    assert top.overlay is not None
    layers = [os.path.realpath(path) for path in top.overlay.lower]

    assert layers == [str(path) for path in (busybox_root / "layers").iterdir()]


def test_a_layer_of_podman_s_store_is_known_by_name(scene: Scene) -> None:
    from newroot.observe.stores import foreign_layers

    top = observe.mounts(next(iter(scene.pids["podman"].values())))[0]
    assert top.overlay is not None
    layers = foreign_layers(top.overlay.lower)

    assert top.overlay.upper is not None
    assert [layer.images for layer in layers.values()] == [("localhost/tiny:1",)]
    (layer,) = layers.values()
    tar = next(Path(top.overlay.upper).parents[3].glob("root.tar")).read_bytes()
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"


def test_diff_says_what_one_sees_and_the_other_does_not(scene: Scene) -> None:
    first, second = scene.tangled[0], scene.tangled[2]
    changes = observe.diff("self", first)
    only = {entry.path.rpartition("/")[2] for entry in changes if entry.kind == "b"}

    assert {"shared", "over", "new\nline", "gone", "bound"} <= only
    assert observe.diff(first, first) == ()
    assert {entry.kind for entry in observe.diff(first, first, same=True)} == {"same"}
    apart = {entry.kind for entry in observe.diff(first, second)}
    assert "a" in apart
    assert "b" in apart


def test_a_change_of_a_mount_table_is_seen_as_it_happens(tmp_path: Path) -> None:
    from newroot.observe.follow import follow

    script = (
        "mount --make-rprivate /; echo ready; read -r _; mount -t tmpfs new $1; echo; read -r _;"
        "mount -o remount,ro $1; echo; read -r _; umount $1; echo; read -r _"
    )
    child = subprocess.Popen(
        ["unshare", "--mount", "bash", "-c", script, "bash", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    seen = []
    events = follow(child.pid, timeout_s=20)
    # The generator takes its first look when it is first asked, so a change must come after that:
    # a thread makes it.
    import threading

    def change() -> None:
        assert child.stdin is not None
        child.stdin.write("go\n")

    for _ in range(3):
        timer = threading.Timer(0.05, change)
        timer.start()
        event = next(events)
        timer.join()
        child.stdout.readline()
        seen.append((event.action, event.mount.mount_point))
    child.communicate("end\n")

    assert seen == [(action, str(tmp_path)) for action in ("mount", "remount", "umount")]
