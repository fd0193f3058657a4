"""CVE-2019-5736: /proc/PID/exe of the runtime, opened for writing, was the host's runtime."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from subprocess import PIPE

import pytest

from newroot.engine import Engine
from newroot.plan import launcher
from newroot.testing import needs

pytestmark = needs("root")

_WRITE = "echo overwritten 2>/dev/null > {path} && echo opened; true"


def _say(engine: Engine, image: Path, script: str, **words: object) -> str:
    result = engine.run(
        rootfs=f"{image}:O", command=["/bin/sh", "-c", script], stdout=PIPE, text=True, **words
    )
    return str(result.stdout)


def test_the_first_process_hides_its_program(engine: Engine, image: Path) -> None:
    said = _say(engine, image, "readlink /proc/1/exe; cat /proc/1/maps /proc/1/mem", init=True)

    assert said == "", "A CONTAINER SEES newroot-init"


@pytest.mark.parametrize("words", [{"cap_add": ["SYS_PTRACE"]}, {"privileged": True}])
def test_who_may_look_at_it_cannot_write_to_it(
    engine: Engine, image: Path, words: dict[str, object]
) -> None:
    before = Path(launcher.binary_path()).read_bytes()

    said = _say(engine, image, _WRITE.format(path="/proc/1/exe"), init=True, **words)

    assert said == "", "newroot-init WAS OPENED FOR WRITING"
    assert Path(launcher.binary_path()).read_bytes() == before, "THE HOST'S PROGRAM WAS CHANGED"


@pytest.mark.parametrize("how", ["#!/proc/self/exe\n", None], ids=["script", "symlink"])
def test_an_image_whose_program_is_newroot_init_itself_gets_nowhere(
    engine: Engine, image: Path, how: str | None
) -> None:
    program = image / "bin/trap"
    if how is None:
        program.symlink_to("/proc/self/exe")
    else:
        program.write_text(how)
        program.chmod(0o755)

    result = engine.run(rootfs=f"{image}:O", command=["/bin/trap"], capture_output=True)

    assert (result.returncode, result.stderr) == (
        2,
        b"newroot-init: started by newroot, not by hand\n",
    )


def test_nobody_can_write_to_what_runs(engine: Engine, image: Path) -> None:
    """Not even later, when nothing runs it any more: the copy is sealed."""
    assert _say(engine, image, "echo up") == "up\n"
    exe = f"/proc/{engine._get_launcher().pid}/exe"
    fd = os.open(exe, os.O_RDONLY | os.O_CLOEXEC)
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        with pytest.raises(OSError) as busy:
            os.open(exe, os.O_RDWR | os.O_CLOEXEC)

        assert busy.value.errno == errno.ETXTBSY
        assert seals & fcntl.F_SEAL_WRITE, "NOT SEALED"
        assert seals & fcntl.F_SEAL_SEAL, "THE SEAL COMES OFF"
        assert os.readlink(exe).startswith("/memfd:"), "IT IS A FILE OF THE HOST"
    finally:
        os.close(fd)


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "without-the-guard"])
def test_a_copy_that_nothing_runs_can_still_not_be_written_to(
    monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """ETXTBSY ends with the last process that runs it; a seal does not."""
    if not guarded:
        monkeypatch.setattr(fcntl, "fcntl", lambda *arguments: 0)
    fd = launcher._sealed_copy(launcher.binary_path())
    try:
        if guarded:
            with pytest.raises(PermissionError):
                os.pwrite(fd, b"overwritten", 0)
        else:
            os.pwrite(fd, b"overwritten", 0)
    finally:
        os.close(fd)
