"""A resctrl of plain files: what is written where, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from newroot.errors import NewrootError, SpecError, SyscallError
from newroot.isolation import intel_rdt
from newroot.isolation.intel_rdt import files, prepare, remove


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as resctrl is: whoever makes a directory in it finds files there."""
    make = intel_rdt._make

    def make_with_files(directory: str) -> None:
        make(directory)
        if not directory.endswith("/full"):
            (Path(directory) / "schemata").write_text("")

    monkeypatch.setattr(intel_rdt, "_make", make_with_files)
    monkeypatch.setattr(intel_rdt, "_remove", _remove_as_the_kernel_does)
    (tmp_path / "schemata").write_text("L3:0=ff;1=ff\nMB:0=100;1=100\n")
    return tmp_path


def _remove_as_the_kernel_does(directory: str) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


def test_a_class_of_its_own_is_made_written_and_removed(resctrl: Path) -> None:
    rdt = {"l3CacheSchema": "L3:0=f;1=3\nMB:0=1", "memBwSchema": "MB:0=20;1=70"}
    joined = prepare(rdt, "c1", str(resctrl))

    assert joined == (f"{resctrl}/c1/tasks",)
    assert (resctrl / "c1/schemata").read_text() == "L3:0=f;1=3\nMB:0=20;1=70\n"
    remove(rdt, "c1", str(resctrl))
    assert not (resctrl / "c1").exists()


def test_schemata_are_written_last(resctrl: Path) -> None:
    seen: list[str] = []
    (resctrl / "c1").mkdir()

    class Write:
        def __call__(self, path: str, text: str) -> None:
            seen.append(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intel_rdt, "_write", Write())
        prepare({"l3CacheSchema": "L3:0=f", "schemata": ["L2:0=1", "MB:0=5"]}, "c1", str(resctrl))

    assert seen == ["L3:0=f\n", "L2:0=1\nMB:0=5\n"]


def test_a_named_class_is_compared_and_never_removed(resctrl: Path) -> None:
    (resctrl / "named").mkdir()
    (resctrl / "named/schemata").write_text("    L3:0=0f;1=ff\n    MB:0=100;1=100\n")
    rdt = {"closID": "named", "l3CacheSchema": "L3:0=F"}

    assert prepare(rdt, "c1", str(resctrl)) == (f"{resctrl}/named/tasks",)
    remove(rdt, "c1", str(resctrl))
    assert (resctrl / "named").exists()
    with pytest.raises(SpecError) as caught:
        prepare({"closID": "named", "l3CacheSchema": "L3:0=7"}, "c1", str(resctrl))
    assert caught.value.pointer == "/linux/intelRdt/closID"


def test_a_named_class_is_made_when_something_is_to_be_written(resctrl: Path) -> None:
    prepare({"closID": "new", "schemata": ["L3:0=1"]}, "c1", str(resctrl))

    assert (resctrl / "new/schemata").read_text() == "L3:0=1\n"
    with pytest.raises(SpecError):
        prepare({"closID": "other"}, "c1", str(resctrl))
    assert not (resctrl / "other").exists()


def test_monitoring_has_a_group_of_its_own(resctrl: Path) -> None:
    (resctrl / "named/mon_groups").mkdir(parents=True)
    rdt = {"closID": "named", "enableMonitoring": True}
    joined = prepare(rdt, "c1", str(resctrl))

    assert joined == (f"{resctrl}/named/tasks", f"{resctrl}/named/mon_groups/c1/tasks")
    assert files(rdt, "c1", str(resctrl)) == joined
    remove(rdt, "c1", str(resctrl))
    assert list((resctrl / "named/mon_groups").iterdir()) == []


def test_what_was_made_goes_when_the_kernel_refuses_the_rest(resctrl: Path) -> None:
    with pytest.raises(SyscallError):
        prepare({"enableMonitoring": True}, "c1", str(resctrl))  # no mon_groups: as when it is full

    assert not (resctrl / "c1").exists()


@pytest.mark.parametrize(
    ("rdt", "pointer"),
    [
        ({"closID": ".."}, "closID"),
        ({"closID": "a/b"}, "closID"),
        ({"closID": "mon_groups"}, "closID"),
        ({"memBwSchema": "L3:0=1"}, "memBwSchema"),
        ({"memBwSchema": "MB:0=1\nL3:0=1"}, "memBwSchema"),
    ],
)
def test_what_may_not_be_is_refused(resctrl: Path, rdt: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as caught:
        prepare(rdt, "c1", str(resctrl))

    assert caught.value.pointer == f"/linux/intelRdt/{pointer}"


def test_without_resctrl_it_is_said_what_is_missing() -> None:
    from newroot.linux.mountinfo import read_mounts

    if any(mount.fstype == "resctrl" for mount in read_mounts()):
        assert intel_rdt.find_resctrl().startswith("/")
        return
    with pytest.raises(NewrootError, match="no resctrl file system is mounted"):
        intel_rdt.find_resctrl()
