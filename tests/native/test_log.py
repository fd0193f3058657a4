"""The log of a detached container: entries whole, in order, in files of a size, nothing lost."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from newroot.testing import needs, require

pytestmark = needs("gcc", "asan")

HERE = Path(__file__).parent
NATIVE = HERE.parent.parent / "src/newroot/native"
LINE = 16384  # MOST_IN_LINE in log.h
STREAMS = ("stdout", "stderr")

Frame = tuple[int, bytes]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("gcc", "asan")
    output = tmp_path_factory.mktemp("log") / "driver"
    options = ["-std=gnu11", "-g", "-O1", "-ffreestanding", "-Wall", "-Wextra", "-Werror"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [HERE / "log_driver.c", NATIVE / "log.c"]
    command = ["gcc", *options, *sanitizers, f"-I{NATIVE}", "-o", output, *sources]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


def write(
    driver: Path,
    where: Path,
    frames: Iterable[Frame],
    *,
    plain: int = 0,
    files: int = 1,
    most: int = 0,
) -> None:
    framed = b"".join(struct.pack("=BI", s, len(data)) + data for s, data in frames)
    arguments = [where, plain, files, most]
    subprocess.run([driver, *map(str, arguments)], input=framed, check=True)


def rotated(where: Path) -> list[Path]:
    """The files of a log, the oldest first."""
    found = sorted(where.glob("log.*"), key=lambda path: -int(path.suffix[1:]))
    return [*found, where / "log"]


def entries(where: Path) -> list[dict[str, str]]:
    return [json.loads(line) for path in rotated(where) for line in path.read_bytes().splitlines()]


def said(where: Path, stream: str) -> str:
    return "".join(entry["log"] for entry in entries(where) if entry["stream"] == stream)


frames_of_bytes = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.binary(max_size=200)
        | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass"))
        | st.integers(1, 3 * LINE).map(lambda n: b"x" * n)
        | st.just("é€𐍈\n".encode() * 4000),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(frames=frames_of_bytes)
def test_the_entries_of_a_stream_are_what_it_said(driver: Path, frames: list[Frame]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        write(driver, where, frames)

        for number, stream in enumerate(STREAMS):
            whole = b"".join(data for of, data in frames if of == number)
            # A character that no byte breaks is there; of broken ones each byte stands for itself.
            assert said(where, stream).replace("\ufffd", "") == whole.decode(
                "utf-8", "replace"
            ).replace("\ufffd", "")


@settings(max_examples=15, deadline=None)
@given(frames=frames_of_bytes, most=st.integers(5000, 100_000))
def test_rotation_neither_drops_nor_tears(driver: Path, frames: list[Frame], most: int) -> None:
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as other:
        write(driver, Path(directory), frames, files=20, most=most)
        write(driver, Path(other), frames)
        if len(rotated(Path(directory))) < 20:
            for stream in STREAMS:
                assert said(Path(directory), stream) == said(Path(other), stream)
        for path in rotated(Path(directory)):
            lines = path.read_bytes().splitlines()
            assert path.stat().st_size <= most or len(lines) == 1
            assert all(json.loads(line) for line in lines)


def test_only_so_many_files_are_kept_and_the_newest_lines_are_in_them(
    driver: Path, tmp_path: Path
) -> None:
    lines = [b"line %d\n" % n for n in range(1000)]
    write(driver, tmp_path, [(0, line) for line in lines], files=3, most=5000)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    kept = said(tmp_path, "stdout").encode()
    assert b"".join(lines).endswith(kept)
    assert len(kept) > 500


def test_one_file_alone_begins_anew_when_it_is_full(driver: Path, tmp_path: Path) -> None:
    write(driver, tmp_path, [(0, b"line %d\n" % n) for n in range(1000)], files=1, most=5000)

    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert said(tmp_path, "stdout").endswith("line 999\n")
    assert (tmp_path / "log").stat().st_size <= 5000


def test_a_log_goes_on_where_the_last_start_left_it(driver: Path, tmp_path: Path) -> None:
    write(driver, tmp_path, [(0, b"one\n")], files=2, most=300)
    write(driver, tmp_path, [(0, b"two\n"), (1, b"three")], files=2, most=300)

    assert said(tmp_path, "stdout") == "one\ntwo\n"
    assert said(tmp_path, "stderr") == "three"


def test_a_long_line_is_cut_between_characters(driver: Path, tmp_path: Path) -> None:
    line = "a" + "€" * 20000
    write(driver, tmp_path, [(0, line.encode())])

    assert len(entries(tmp_path)) == 4  # 60,001 bytes
    assert said(tmp_path, "stdout") == line


def test_lines_that_came_together_are_one_write(driver: Path, tmp_path: Path) -> None:
    require("strace")
    framed = struct.pack("=BI", 0, 4 * 1000) + b"abc\n" * 1000
    trace = tmp_path / "trace"
    arguments = [str(tmp_path), "0", "1", "0"]
    # The leak check of the sanitizers cannot be traced.
    subprocess.run(
        ["strace", "-o", trace, "-e", "trace=write", driver, *arguments],
        input=framed, check=True, env={"ASAN_OPTIONS": "detect_leaks=0"},
    )  # fmt: skip

    assert len(entries(tmp_path)) == 1000
    assert trace.read_text().count("write(") == 1


def test_plain_lines_are_as_the_cri_has_them(driver: Path, tmp_path: Path) -> None:
    write(driver, tmp_path, [(0, b'say "hi"\nno'), (1, b"\xff\n")], plain=1)
    lines = (tmp_path / "log").read_bytes().splitlines()

    assert [line.split(b" ", 1)[1] for line in lines] == [
        b'stdout F say "hi"',
        b"stderr F \xff",
        b"stdout P no",
    ]


def test_the_time_is_now_in_utc(driver: Path, tmp_path: Path) -> None:
    write(driver, tmp_path, [(0, b"x\n")])
    (time,) = [entry["time"] for entry in entries(tmp_path)]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", time)
    age = datetime.now(UTC) - datetime.fromisoformat(time[:26]).replace(tzinfo=UTC)
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)


@needs("root")
def test_what_a_full_disk_does_not_take_is_told_of_later(driver: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # A small file system in a mount namespace of its own.  Most of it is another file's, which goes
    # when more than a pipe holds has been read, and far more than fits has been said.
    script = f"""
        mount -t tmpfs -o size=2m tmpfs {disk}
        head -c 2000000 /dev/zero > {disk}/ballast
        (cat "$1"; rm {disk}/ballast; cat "$2") | {driver} {disk} 0 1 0
        cp {disk}/log {tmp_path}/log
    """
    first, second = tmp_path / "first", tmp_path / "second"
    line = "a" * 100 + "\n"
    first.write_bytes((struct.pack("=BI", 0, len(line)) + line.encode()) * 4000)
    second.write_bytes(struct.pack("=BI", 0, 6) + b"after\n")
    command = ["unshare", "--mount", "sh", "-ec", script, "sh", str(first), str(second)]
    subprocess.run(command, check=True)

    found = [entry["log"] for entry in entries(tmp_path)]
    told = [re.fullmatch(r"newroot: the disk did not take (\d+) .*\n", each) for each in found]
    lost = sum(int(match[1]) for match in told if match is not None)
    assert lost > 0
    assert found[-1] == "after\n"
    of_one = len((tmp_path / "log").read_bytes().splitlines(keepends=True)[0])
    assert found.count(line) * of_one + lost == 4000 * of_one
