"""A resident Python program that times one library's "run /bin/true, give me the result".

`client.py LIBRARY ARGUMENT...` answers each line "N" on stdin with N lines of nanoseconds
(time.perf_counter_ns around the call). Runs in the interpreter that has the library; the
imports and the library's own start are before the first answer, off the clock.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Run = Callable[[], None]


@contextmanager
def sandlock(rootfs: str) -> Iterator[Run]:
    from sandlock import Sandbox

    sandbox = Sandbox(chroot=rootfs, fs_readable=["/"])

    def run() -> None:
        if not sandbox.run(["/bin/true"]).success:
            raise SystemExit("sandlock: /bin/true did not succeed")

    yield run


@contextmanager
def kern(image: str) -> Iterator[Run]:
    from kern_sandbox import Sandbox

    with Sandbox(image=image, track_files=False, pyc_cache=False, memory_mb=None, pids=None) as box:

        def run() -> None:
            if box.run(["/bin/true"]).exit_code:
                raise SystemExit("kern: /bin/true did not succeed")

        yield run


@contextmanager
def newroot(root: str, source: str, *words: str) -> Iterator[Run]:
    """*source* is DIR:O (begins with a slash) or the name of an image; *words* are NAME=VALUE."""
    from newroot import Engine

    command = ["/bin/true"]
    options: dict[str, str] = dict(word.split("=", 1) for word in words)
    with Engine(root=root) as engine:

        def run() -> None:
            if source.startswith("/"):
                done = engine.run(rootfs=source, command=command, capture_output=True, **options)
            else:
                done = engine.run(source, command, capture_output=True, **options)
            if done.returncode:
                raise SystemExit(f"newroot: /bin/true ended with {done.returncode}")

        yield run


def populate_newroot(count: int, root: str, source: str) -> None:
    """Leave *count* stopped containers in *root*."""
    from newroot import Engine

    with Engine(root=root) as engine:
        for _ in range(count):
            engine.run(rootfs=source, command=["/bin/true"], rm=False)


LIBRARIES: dict[str, Callable[..., AbstractContextManager[Run]]] = {
    "sandlock": sandlock,
    "kern": kern,
    "newroot": newroot,
}


def serve(run: Run) -> None:
    for line in sys.stdin:
        for _ in range(int(line)):
            begin = time.perf_counter_ns()
            run()
            print(time.perf_counter_ns() - begin)
        sys.stdout.flush()


def measure_threads(run: Run, threads: int, count: int) -> None:
    """Print how many runs a second *threads* threads of this one process get done."""

    def work() -> None:
        for _ in range(count // threads):
            run()

    crew = [threading.Thread(target=work) for _ in range(threads)]
    run()
    begin = time.perf_counter()
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    print(count // threads * threads / (time.perf_counter() - begin))


def main(arguments: list[str]) -> None:
    threads, count = 0, 0
    if arguments[0] == "--populate":
        return populate_newroot(int(arguments[1]), *arguments[3:])
    if arguments[0] == "--threads":
        threads, count, arguments = int(arguments[1]), int(arguments[2]), arguments[3:]
    library, *rest = arguments
    with LIBRARIES[library](*rest) as run:
        if threads:
            measure_threads(run, threads, count)
        else:
            serve(run)


if __name__ == "__main__":
    main(sys.argv[1:])
