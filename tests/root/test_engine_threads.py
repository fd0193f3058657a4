"""One engine, many threads; and what becomes of it when its process forks or forgets it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from newroot.container.pipes import PIPE
from newroot.engine import Engine
from newroot.errors import NewrootError, UsageError
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(110)]


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run *work* in *count* threads; raise what one of them raised."""
    failures: list[BaseException] = []

    def guarded(n: int) -> None:
        try:
            work(n)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def is_gone(pid: int) -> bool:
    """Has the process ended?  A zombie, which waits for its parent, has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_eight_threads_run_a_hundred_each(engine: Engine) -> None:
    def work(n: int) -> None:
        for i in range(100):
            done = engine.run("busybox", ["echo", f"{n} {i}"], capture_output=True, text=True)
            assert (done.stdout, done.returncode) == (f"{n} {i}\n", 0)

    in_threads(8, work)

    assert engine._processes == set()


def test_threads_with_different_settings_do_not_mix_them(engine: Engine) -> None:
    def work(n: int) -> None:
        for i in range(10):
            words: dict[str, Any] = {"hostname": f"h{n}", "upper": ("memory", "disk")[i % 2]}
            script = "hostname; read x < /proc/self/cgroup; id -u"
            done = engine.run("busybox", ["sh", "-c", script], capture_output=True, text=True,
                              user=n, **words)  # fmt: skip
            assert done.stdout == f"h{n}\n{n}\n"

    in_threads(8, work)

    assert os.listdir(engine.run_root) == []


def test_closing_ends_the_runs_of_other_threads(engine: Engine) -> None:
    started = threading.Semaphore(0)
    faults: list[str | None] = []

    def work(n: int) -> None:
        if n == 4:
            for _ in range(4):
                started.acquire()
            engine.close()
            return
        process = engine.popen("busybox", ["sleep", "100"])
        started.release()
        process.wait()
        faults.append(process.fault)

    in_threads(5, work)

    assert faults == ["killed"] * 4


def test_closing_during_starts_leaves_clear_errors_and_nothing_else(root: Path) -> None:
    said: set[str] = set()
    for _ in range(10):
        engine = Engine(root)
        engine.run("busybox", ["true"])
        begun = threading.Barrier(5)

        def work(n: int, engine: Engine = engine, begun: threading.Barrier = begun) -> None:
            begun.wait()
            if n == 4:
                engine.close()
                return
            try:
                while engine.run("busybox", ["true"], upper="disk").fault != "killed":
                    pass
            except NewrootError as error:
                said.add(str(error))

        in_threads(5, work)
        assert os.listdir(engine.run_root) == []
        assert os.listdir(f"{root}/containers") == []

    assert said <= {"this engine is closed", "waiting for newroot-init: it is gone"}


def test_an_engine_is_of_no_use_after_close(engine: Engine) -> None:
    engine.close()
    with pytest.raises(UsageError, match="this engine is closed"):
        engine.run("busybox", ["true"])


# ---- fork ---------------------------------------------------------------------------------------


def in_child(work: Callable[[], object]) -> int:
    """Fork; do *work* in the child; return its exit code: 0 unless *work* raised."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_child_of_a_fork_has_a_launcher_of_its_own(engine: Engine) -> None:
    with engine.popen("busybox", ["cat"], stdin=PIPE, stdout=PIPE) as process:
        ours = engine._launcher

        def work() -> None:
            done = engine.run("busybox", ["echo", "child"], capture_output=True)
            assert done.stdout == b"child\n"
            assert engine._launcher is not ours
            with pytest.raises(UsageError, match="another process"):
                process.poll()
            engine.close()

        assert in_child(work) == 0
        assert process.poll() is None
        assert process.communicate(b"still here")[0] == b"still here"


def test_a_child_that_lives_on_does_not_keep_its_parent_s_launcher(engine: Engine) -> None:
    engine.run("busybox", ["true"])
    launcher = engine._launcher
    assert launcher is not None
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    engine.close()

    assert is_gone(launcher.pid)
    os.close(writer)
    os.waitpid(pid, 0)


def test_a_fork_while_other_threads_start_containers_cannot_hang(engine: Engine) -> None:
    stop = threading.Event()

    def runs() -> None:
        while not stop.is_set():
            engine.run("busybox", ["true"])

    threads = [threading.Thread(target=runs) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        codes = [in_child(lambda: engine.run("busybox", ["true"], check=True)) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert codes == [0] * 10


def _of_a_pool(n: int) -> str:
    assert _shared is not None
    done = _shared.run("busybox", ["echo", str(n)], capture_output=True, text=True)
    return str(done.stdout)


_shared: Engine | None = None


def test_a_pool_of_forked_workers_uses_the_engine(engine: Engine) -> None:
    global _shared
    _shared = engine
    try:
        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert pool.map(_of_a_pool, range(12)) == [f"{n}\n" for n in range(12)]
    finally:
        _shared = None
    assert engine.run("busybox", ["true"]).returncode == 0


def test_a_child_that_is_killed_does_not_take_its_parent_s_containers(engine: Engine) -> None:
    with engine.popen("busybox", ["cat"], stdin=PIPE) as process:
        pid = os.fork()
        if pid == 0:
            engine.popen("busybox", ["sleep", "100"])
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)

        assert process.poll() is None


# ---- forgotten ----------------------------------------------------------------------------------


def test_a_forgotten_engine_leaves_no_process(root: Path) -> None:
    engine = Engine(root)
    process = engine.popen("busybox", ["sleep", "100"])
    pids = [process.pid, engine._launcher.pid if engine._launcher else 0]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del engine, process
        gc.collect()

    assert all(map(is_gone, pids))
    assert [warning.category for warning in said] == [ResourceWarning]


def test_a_process_keeps_its_engine(root: Path) -> None:
    process = Engine(root).popen("busybox", ["cat"], stdin=PIPE, stdout=PIPE)
    gc.collect()

    assert process.communicate(b"x") == (b"x", None)
    process.close_pipes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del process
        gc.collect()
