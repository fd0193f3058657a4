"""Lines that many processes write to one file: each whole, none lost, the file turned."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from newroot.container.events import line, read_events
from newroot.linux.journal import FILES, Journal


def _write(directory: str, name: str, count: int) -> None:
    journal = Journal(directory)
    for number in range(count):
        journal.append(f"{name}-{number}-" + "x" * 100)


def lines(directory: Path) -> list[str]:
    found = sorted(directory.glob("log*"), key=lambda p: p.name, reverse=True)
    return [text for path in found for text in path.read_text().split("\n") if text]


def test_lines_of_several_writers_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write, args=(str(tmp_path / "j"), name, 500)) for name in "abc"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert sorted(lines(tmp_path / "j")) == sorted(
        f"{name}-{number}-" + "x" * 100 for name in "abc" for number in range(500)
    )


def test_a_large_file_is_turned_and_the_oldest_goes(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), most_bytes=100)
    for number in range(9):
        journal.append(f"{number}" * 60)

    assert len(list(tmp_path.glob("log*"))) == FILES
    assert [text[0] for text in lines(tmp_path)] == ["4", "5", "6", "7", "8"]


def test_a_line_that_was_torn_spoils_no_other(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.append(line("container", "create", "1" * 64, {"name": "one"}))
    with open(tmp_path / "log", "a", encoding="utf-8") as file:
        file.write('\n{"time": 17')
    journal.append(line("container", "die", "1" * 64, {"exitCode": "3"}))

    events = list(read_events(journal, since=0, until=None, follow=False))
    assert [e.action for e in events] == ["create", "die"]
    assert events[1].attributes == {"name": "one", "exitCode": "3"}


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    Journal(str(tmp_path / "file" / "below")).append("x")
