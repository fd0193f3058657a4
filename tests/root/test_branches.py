"""Roots that branch: forks, snapshots, the way back, by the real engine and the real kernel."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.container.branch import Copied, needed
from newroot.container.branch_tree import Branch
from newroot.container.flatten import flatten
from newroot.container.snapshots import SnapshotStore
from newroot.engine import Engine
from newroot.errors import AlreadyExists, NotFound, StateError, UsageError, WrongStatus
from newroot.linux.watch import Watch
from newroot.testing.needs import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]

#: What a container may do to its root, each line on what those before it have left.
STEPS = (
    "echo 1 > /one; mkdir -p /d/e; echo f > /d/e/f; rm /etc/group; ln /one /d/linked",
    "rm -r /d; mkdir /d; echo g > /d/g; echo more >> /one; chmod 700 /home",
    "rm -r /home; mkdir /home; echo h > /home/h; ln -s /one /link; echo new > /etc/group",
    "rm /d/g; rmdir /d; echo now-a-file > /d; mv /etc/passwd /etc/people; mkfifo /fifo",
    "rm /d /etc/group; mkdir -p /d/e/deep; chown 7:8 /d/e; rm -r /home",
)
LOOK = (
    "cd /; find bin d etc home link one fifo -exec stat -c '%n %F %a %u:%g %s' {} + 2>/dev/null"
    " | sort;"
    "cat /one /d /d/g /home/h /etc/group 2>/dev/null; true"
)


Run = Callable[[str, str], str]


@pytest.fixture
def run(engine: Engine) -> Run:
    """Run a line of shell in a container that is there, through its own start."""

    def run(name: str, line: str) -> str:
        Path(engine.storage.directory(engine.storage.resolve(name)), "log").unlink(missing_ok=True)
        engine.storage.change_record(
            engine.storage.resolve(name),
            lambda now: {**now, "settings": {**now["settings"], "command": ["sh", "-c", line]}},
        )
        engine.start(name)
        assert engine.wait(name) == 0, list(engine.logs(name))
        return b"".join(entry.data for entry in engine.logs(name)).decode()

    return run


def sealed(engine: Engine) -> list[str]:
    return SnapshotStore(engine.root).ids()


def depth(engine: Engine, name: str) -> int:
    lower = engine.container(name).lower
    return len(SnapshotStore(engine.root).split(lower)[0])


# ── fork ─────────────────────────────────────────────────────────────────────────────────────


def test_a_fork_begins_as_the_other_is_and_each_goes_its_own_way(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo common > /x; rm /etc/group")
    engine.fork("aa", "bb")
    run("aa", "echo of-a >> /x")
    run("bb", "echo of-b >> /x; test ! -e /etc/group")

    assert "common\nof-a\n" == run("aa", "cat /x")
    assert "common\nof-b\n" == run("bb", "cat /x")


def test_a_fork_moves_nothing_but_the_upper(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "head -c 1000000 /dev/zero > /big")
    upper = Path(engine.storage.directory(engine.storage.resolve("aa")), "upper")
    before = (upper / "big").stat()
    engine.fork("aa", "bb")

    (snapshot,) = sealed(engine)
    after = Path(SnapshotStore(engine.root).path(snapshot), "big").stat()
    assert (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)
    assert [] == os.listdir(upper)


def test_what_has_changed_is_the_same_in_one_container_and_over_many_forks(
    engine: Engine, run: Run, tmp_path: Path
):
    engine.create("busybox", ["true"], name="one-0")
    engine.create("busybox", ["true"], name="all")
    for number, step in enumerate(STEPS):
        run("all", step)
        run(f"one-{number}", step)
        engine.fork(f"one-{number}", f"one-{number + 1}")
        last = f"one-{number + 1}"

        assert engine.diff("all") == engine.diff(last)
        assert run("all", LOOK) == run(last, LOOK)
    assert depth(engine, last) == len(STEPS)
    names = []
    for name in ("all", last):
        with open(tmp_path / name, "w+b") as file:
            engine.export(name, file)
        with tarfile.open(tmp_path / name) as tar:
            names.append([(m.name, m.mode, m.uid, m.size, m.type) for m in tar])
    assert names[0] == names[1]


def test_flattened_a_chain_shows_the_same(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    for step in STEPS:
        run("aa", step)
        engine.snapshot("aa")
    before = engine.diff("aa"), run("aa", LOOK)

    assert engine.flatten("aa")

    assert 1 == depth(engine, "aa")
    assert before == (engine.diff("aa"), run("aa", LOOK))
    assert not engine.flatten("aa")
    for number in range(len(STEPS), 0, -1):
        engine.rollback("aa", str(number))
    assert "f\n" == run("aa", "cat /d/e/f")


def test_a_forked_container_becomes_an_image_on_its_image(engine: Engine, root: Path, run: Run):
    for name in ("images", "layers"):
        shared = os.readlink(root / name)
        (root / name).unlink()
        subprocess.run(["cp", "-a", shared, root / name], check=True)
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo x > /x; rm -r /home")
    engine.fork("aa", "bb")
    run("bb", "echo y > /y")
    image = engine.commit("bb", "made:1")

    assert 2 == len(image.layers)
    line = ["sh", "-c", "cat /x /y; test ! -e /home"]
    assert b"x\ny\n" == engine.run("made:1", line, capture_output=True, check=True).stdout


def test_the_settings_come_along_but_for_name_and_anonymous_volumes(engine: Engine, run: Run):
    engine.create(
        "busybox",
        ["true"],
        name="aa",
        env={"WHO": "me"},
        volumes=["shared:/shared", "/own"],
        label=["a=b"],
    )
    run("aa", "echo s > /shared/s; echo o > /own/o")
    forked = engine.fork("aa")

    assert None is engine.container(forked).name
    assert (("a", "b"),) == engine.container(forked).labels
    assert "me\ns\n" == run(forked, "echo $WHO; cat /shared/s; ls /own")


def test_a_fork_of_what_has_never_run_stands_on_nothing_more(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    engine.fork("aa", "bb")
    engine.fork("bb", "cc")

    assert [] == sealed(engine)
    assert "ok\n" == run("cc", "echo ok")


def test_a_name_that_is_taken_leaves_both_as_they_were(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo x > /x")
    before = engine.storage.record(engine.storage.resolve("aa"))
    with pytest.raises(AlreadyExists, match="aa"):
        engine.fork("aa", "aa")

    assert before == engine.storage.record(engine.storage.resolve("aa"))
    assert 1 == len(engine.containers())
    assert [] == sealed(engine)


def test_what_has_no_upper_on_the_disk_cannot_branch(engine: Engine, tmp_path: Path):
    (tmp_path / "rootfs").mkdir()
    engine.create(rootfs=str(tmp_path / "rootfs"), command=["true"], name="dir")
    engine.create("busybox", ["true"], name="mem", upper="memory")
    for name in ("dir", "mem"):
        with pytest.raises(StateError, match="no upper on the disk"):
            engine.fork(name)
        with pytest.raises(StateError, match="no upper on the disk"):
            engine.snapshot(name)

    assert 2 == len(engine.containers())


# ── one that runs ────────────────────────────────────────────────────────────────────────────


def test_one_that_runs_is_copied_while_it_is_frozen_and_goes_on(engine: Engine, run: Run):
    # Two files are written one after the other: a copy in between would tell.
    line = (
        "echo l > /l1; ln /l1 /l2; rm -r /home; mkdir /home; rm /etc/group;"
        "dd if=/dev/zero of=/sparse bs=1 count=1 seek=8388608 2>&-; i=0;"
        "while :; do i=$((i+1)); for n in n1 n2; do echo $i > /t; mv /t /$n; done;"
        "[ $i = 1 ] && echo ready; done"
    )
    engine.create("busybox", ["sh", "-c", line], name="live")
    engine.start("live")
    told: list[Copied] = []
    try:
        next(engine.logs("live", follow=True))
        for number in range(5):
            engine.fork("live", f"copy-{number}", on_copied=told.append)
        before = run("copy-0", "cat /n1")
        run_in(engine, "live", f"while [ $(cat /n1) = {before.strip()} ]; do sleep 0.01; done")
    finally:
        engine.kill("live")

    assert 5 == len(told)
    assert all(0 < each.size_bytes < 1_000_000 for each in told)  # holes stay holes
    for number in range(5):
        first, second = run(f"copy-{number}", "cat /n1 /n2").split()
        assert int(first) - int(second) in (0, 1)
    assert "2\nl\n" == run("copy-0", "stat -c %h /l1; cat /l2; ls /home; test ! -e /etc/group")
    assert ("D", "/etc/group") in engine.diff("copy-0")


def run_in(engine: Engine, name: str, line: str) -> str:
    return engine.exec(name, ["sh", "-c", line]).stdout.decode()


def test_a_snapshot_of_one_that_runs_is_there_to_go_back_to(engine: Engine, run: Run):
    engine.create("busybox", ["sh", "-c", "echo 1 > /x; echo ready; exec sleep 100"], name="live")
    engine.start("live")
    try:
        next(engine.logs("live", follow=True))
        assert "early" == engine.snapshot("live", "early").tag
        run_in(engine, "live", "echo 2 > /x")
        with pytest.raises(WrongStatus, match="it is running"):
            engine.rollback("live", "early")
    finally:
        engine.kill("live")
        engine.wait("live")
    engine.rollback("live", "early")

    assert "1\n" == run("live", "cat /x")


# ── snapshots ────────────────────────────────────────────────────────────────────────────────


def test_a_rollback_goes_back_and_forward_again(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    assert "1" == engine.snapshot("aa").tag
    run("aa", "echo x > /x")
    engine.snapshot("aa", "with-x")
    run("aa", "rm /x; echo y > /y")
    assert "2" == engine.snapshot("aa").tag
    run("aa", "echo lost > /lost")

    engine.rollback("aa", "with-x")
    assert [("A", "/x")] == engine.diff("aa")
    assert "x\n" == run("aa", "cat /x; test ! -e /y && test ! -e /lost")
    engine.rollback("aa", "1")
    assert [] == engine.diff("aa")
    engine.rollback("aa", "2")
    assert "y\n" == run("aa", "cat /y; test ! -e /x")


def test_the_attributes_of_the_root_itself_are_kept(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "chmod 751 /; chown 3:4 /")
    engine.fork("aa", "bb")
    engine.snapshot("aa", "t")
    run("aa", "chmod 700 /")
    engine.rollback("aa", "t")

    for name in ("aa", "bb"):
        assert "751 3:4\n" == run(name, "stat -c '%a %u:%g' /")


def test_two_snapshots_of_one_state_are_one(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo x > /x")
    first, second = engine.snapshot("aa", "a"), engine.snapshot("aa", "b")

    assert first.id == second.id
    with pytest.raises(AlreadyExists, match="has a snapshot a"):
        engine.snapshot("aa", "a")
    with pytest.raises(UsageError, match="invalid tag"):
        engine.snapshot("aa", "../x")
    with pytest.raises(NotFound, match="no snapshot c"):
        engine.rollback("aa", "c")


def test_a_start_keeps_the_tags(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo x > /x")
    engine.snapshot("aa", "kept")
    run("aa", "rm /x")
    engine.rollback("aa", "kept")

    assert "x\n" == run("aa", "cat /x")


def test_sealed_uppers_stay_as_long_as_somebody_needs_them_and_no_longer(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo 1 > /1")
    engine.snapshot("aa", "one")
    run("aa", "echo 2 > /2")
    engine.fork("aa", "bb")
    run("bb", "echo 3 > /3")
    engine.snapshot("bb", "three")
    assert 3 == len(sealed(engine))

    engine.remove_container("aa")
    assert 3 == len(sealed(engine))  # bb stands on all
    assert "1\n2\n3\n" == run("bb", "cat /1 /2 /3")
    engine.fork("bb", "cc")
    engine.remove_snapshot("bb", "three")
    assert 4 >= len(sealed(engine)) >= 3
    engine.remove_container("bb")
    assert "1\n2\n3\n" == run("cc", "cat /1 /2 /3")
    engine.remove_container("cc")
    assert [] == sealed(engine)


def test_a_tag_that_is_forgotten_takes_its_files_along(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    engine.snapshot("aa", "empty")
    run("aa", "echo 1 > /1")
    engine.snapshot("aa", "one")
    engine.rollback("aa", "empty")
    assert 2 == len(sealed(engine))
    engine.remove_snapshot("aa", "one")

    assert 1 == len(sealed(engine))


def test_a_record_that_cannot_be_read_costs_no_snapshot(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo 1 > /1")
    engine.fork("aa", "bb")
    path = Path(engine.storage.directory(engine.storage.resolve("bb")), "record.json")
    whole = path.read_text()
    path.write_text("{")
    engine.remove_container("aa")

    assert None is needed(engine.storage)
    path.write_text(whole)
    assert "1\n" == run("bb", "cat /1")


def test_the_tree_shows_what_grew_where(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo 1 > /1")
    engine.snapshot("aa", "one")
    run("aa", "echo 2 > /2")
    engine.fork("aa", "bb")
    engine.create("busybox", ["true"], name="other")
    run("other", "echo o > /o")
    engine.snapshot("other")

    def draw(node: Branch) -> object:
        return (node.tags[0][1] if node.tags else node.name, *map(draw, node.children))

    assert [("busybox", ("one", ("aa", ("aa",), ("bb",))), ("1", ("other",)))] == [
        draw(root) for root in engine.snapshots()
    ]
    assert [("busybox", ("1", ("other",)))] == [draw(root) for root in engine.snapshots("other")]


# ── long chains ──────────────────────────────────────────────────────────────────────────────


def test_a_long_chain_is_made_one_in_the_background(
    engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NEWROOT_SNAPSHOT_DEPTH", "3")
    engine.create("busybox", ["true"], name="aa")
    for number in range(4):
        run("aa", f"echo {number} > /{number}")
        engine.fork("aa", f"fork-{number}")
        if number == 2:
            assert 3 == depth(engine, "aa")
    for name in ("aa", "fork-3"):
        with Watch(engine.storage.directory(engine.storage.resolve(name))) as watch:
            while depth(engine, name) > 1:
                watch.wait(1.0)

    assert "0\n1\n2\n3\n" == run("aa", "cat /0 /1 /2 /3")
    assert "0\n1\n2\n3\n" == run("fork-3", "cat /0 /1 /2 /3")
    # Both stand on the same: it was made once.
    assert engine.container("aa").lower == engine.container("fork-3").lower


def test_one_that_runs_is_not_flattened(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    for number in range(2):
        run("aa", f"echo {number} > /{number}")
        engine.snapshot("aa")
    engine.storage.change_record(
        engine.storage.resolve("aa"),
        lambda now: {**now, "settings": {**now["settings"], "command": ["sleep", "100"]}},
    )
    engine.start("aa")
    try:
        assert not flatten(engine.storage, engine.storage.resolve("aa"))
        assert 2 == depth(engine, "aa")
    finally:
        engine.kill("aa")


# ── at once ──────────────────────────────────────────────────────────────────────────────────


def test_many_fork_one_at_once_and_start(engine: Engine, run: Run):
    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo x > /x")
    failed: list[BaseException] = []

    def fork(number: int) -> None:
        try:
            for turn in range(3):
                engine.fork("aa", f"f{number}-{turn}", start=True)
                engine.start("aa")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=fork, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failed
    assert 13 == len(engine.containers())
    assert "x\n" == run("f3-2", "cat /x")


def test_a_start_waits_for_who_holds_the_container_for_a_moment(engine: Engine):
    engine.create("busybox", ["true"], name="aa")
    claim = engine.storage.hold(engine.storage.resolve("aa"))
    assert claim is not None
    assert "created" == engine.container("aa").status
    letting_go = threading.Timer(0.2, lambda: claim.release(remove=False))
    letting_go.start()
    engine.start("aa")
    letting_go.join()

    assert 0 == engine.wait("aa")
    assert None is not engine.container("aa").finished


# ── the commands ─────────────────────────────────────────────────────────────────────────────


def test_the_commands_say_what_they_made(
    engine: Engine, run: Run, root: Path, newroot_command: str
):
    def newroot(*words: str) -> str:
        done = subprocess.run(
            [newroot_command, "--root", root, "--run-root", engine.run_root, *words],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    engine.create("busybox", ["true"], name="aa")
    run("aa", "echo x > /x")
    assert "before\n" == newroot("snapshot", "aa", "before")
    forked = newroot("fork", "aa", "bb", "--start").strip()
    assert engine.storage.resolve("bb") == forked
    engine.wait("bb")

    lines = newroot("snapshots").splitlines()
    assert "busybox" == lines[0]
    assert lines[1].startswith("└─ ")
    assert "  aa:before  " in lines[1]
    assert [f"   ├─ [{engine.storage.resolve('aa')[:12]}]  aa  exited",
            f"   └─ [{forked[:12]}]  bb  exited"] == lines[2:]  # fmt: skip
    (tree,) = json.loads(newroot("snapshots", "aa", "--format", "json"))
    assert [{"Container": "aa", "Tag": "before"}] == tree["Children"][0]["Tags"]
    assert "aa\n" == newroot("rollback", "aa", "before")
    assert "before\n" == newroot("snapshots", "rm", "aa", "before")
