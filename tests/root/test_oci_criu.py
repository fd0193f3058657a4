"""checkpoint and restore: as far as criu(8) goes on this host, and what is said where it does not.

Where ``criu check`` says yes, a container is written down, gone, and goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oci_bundles import Oci

from newroot.container import criu
from newroot.container.oci_checkpoint import external_mounts
from newroot.errors import NewrootError, UnsupportedError
from newroot.testing.needs import missing, needs

pytestmark = [needs("root", "busybox", "criu-program"), pytest.mark.timeout(120)]


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Oci]:
    made = Oci(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def criu_works() -> bool:
    return missing("criu") is None


def counting(oci: Oci) -> None:
    """A container that counts in memory what it writes to a file."""
    script = "n=0; while :; do n=$((n+1)); echo $n >/count; sleep 0.05; done"
    oci.configure(lambda config: config["process"].update(args=["sh", "-c", script]))
    oci.create()
    oci("start", "c")


def test_criu_itself_understands_what_we_say_and_we_its_answer() -> None:
    said = subprocess.run(
        [criu.find_criu("criu"), "--version"], capture_output=True, text=True, check=True
    )
    major, minor = criu.Criu("criu").version()

    assert said.stdout.startswith(f"Version: {major}.{minor}")


def test_criu_opens_the_directory_that_it_is_told_of_and_looks_for_the_process(
    tmp_path: Path,
) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        answer = criu.Criu("criu").ask(
            criu.DUMP,
            [("images_dir_fd", fd), ("pid", 2**22 + 1), ("log_level", 4), ("log_file", "a.log")],
        )
    finally:
        os.close(fd)

    assert not criu.is_yes(answer)
    assert "Running on" in (tmp_path / "a.log").read_text()


def test_a_container_is_written_down_and_goes_on(
    oci: Oci, tmp_path: Path, criu_works: bool
) -> None:
    counting(oci)
    images = tmp_path / "images"
    done = oci("checkpoint", "--image-path", images, "c", check=False)
    if not criu_works:
        # The whole road, up to the kernel that criu does not know.
        assert done.returncode == 1
        assert "checkpoint c by criu: criu does not work on this host: (criu/" in done.stderr
        assert (images / "dump.log").is_file()
        streams = json.loads((images / "descriptors.json").read_text())
        null = Path("/dev/null").stat().st_ino
        assert [streams[0].startswith("file["), streams[0].endswith(f":{null:x}]")] == [True, True]
        assert len(streams) == 3
        assert oci.status() == "running"  # nothing happened to it
        return
    assert done.returncode == 0, done.stderr
    assert oci.left() == []
    count = int((oci.bundle / "rootfs/count").read_text())
    log = (tmp_path / "log").open("w")
    words = ("restore", "-d", "--bundle", oci.bundle, "--image-path", images, "c")
    restored = oci(*words, check=False, capture_output=False, stdout=log, stderr=log)
    assert restored.returncode == 0, (tmp_path / "log").read_text()

    assert oci.status() == "running"
    assert int((oci.bundle / "rootfs/count").read_text()) >= count


def test_a_restore_that_fails_leaves_nothing(oci: Oci, tmp_path: Path) -> None:
    (tmp_path / "descriptors.json").write_text('["/dev/null", "pipe:[1]", "/dev/null"]')
    words = ("restore", "--bundle", oci.bundle, "--image-path", tmp_path, "c")
    done = oci(*words, check=False)

    assert done.returncode == 1
    assert "restore c by criu" in done.stderr
    assert oci.left() == []
    assert str(oci.root) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("restore", "new"), "no checkpoint at"),
        (("checkpoint", "c"), "cannot be checkpointed in created state"),
        (("checkpoint", "none"), "container does not exist"),
        (("checkpoint", "--page-server", "here", "c"), "--page-server ADDRESS:PORT"),
        (("checkpoint", "--empty-ns", "ipc", "c"), "namespace ipc is not supported"),
        (("checkpoint", "--manage-cgroups-mode", "hard", "c"), "invalid value 'hard'"),
    ],
)
def test_what_cannot_be_is_refused(
    oci: Oci, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    oci.create()
    verb, *rest = words
    place = ("--bundle", oci.bundle) if verb == "restore" else ()
    done = oci(verb, *place, *rest, check=False, cwd=tmp_path)

    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_a_host_without_criu_says_so(oci: Oci) -> None:
    oci.create()
    oci("start", "c")
    done = oci("--criu", "/nowhere/criu", "checkpoint", "c", check=False)

    assert done.returncode == 1
    assert "there is no /nowhere/criu on this host\nhint: install criu" in done.stderr


def test_what_is_the_host_s_is_told_by_its_name() -> None:
    config = {
        "mounts": [
            {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind"]},
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "etc/hosts", "source": "/h", "options": ["bind"]},
        ],
        "linux": {"maskedPaths": ["/proc/meminfo", "/nowhere"]},
    }

    def pairs(options: list[tuple[str, criu.Value]]) -> list[tuple[object, ...]]:
        found = [criu.decode(value) for _, value in options if isinstance(value, bytes)]
        return [(message[1][0], message[2][0]) for message in found]

    assert pairs(external_mounts(config, os.getpid())) == [
        (b"/data", b"/data"),
        (b"/etc/hosts", b"/etc/hosts"),
        (b"/proc/meminfo", b"/dev/null"),
    ]
    assert pairs(external_mounts(config)) == [
        (b"/data", b"/srv"),
        (b"/etc/hosts", b"/h"),
        (b"/dev/null", b"/dev/null"),
    ]


@given(st.lists(st.tuples(st.integers(1, 500), st.one_of(st.integers(0, 2**64 - 1), st.binary()))))
def test_a_message_comes_back_as_it_was(fields: list[tuple[int, int | bytes]]) -> None:
    wanted: dict[int, list[int | bytes]] = {}
    for number, value in fields:
        wanted.setdefault(number, []).append(value)

    assert criu.decode(criu.encode(fields)) == wanted


@given(st.binary())
def test_no_answer_breaks_the_reader(data: bytes) -> None:
    try:
        criu.decode(data)
    except NewrootError:
        pass


def test_a_program_that_is_not_criu_is_an_error() -> None:
    with pytest.raises((NewrootError, OSError)):
        criu.Criu("/bin/true").version()
    with pytest.raises(UnsupportedError):
        criu.find_criu("no-such-criu")
