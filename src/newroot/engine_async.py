"""``Engine.run_async()``: the same as ``run()``, with asyncio's loop in place of poll(2)."""

from __future__ import annotations

import asyncio
import os

from newroot.container.pipes import PIPE
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any

    from newroot.container.process import Process, Result

_PIECE = 65536


async def run_async(
    popen: Callable[..., Process],
    image: str | None,
    command: Sequence[str] | str,
    *,
    input: bytes | str | None = None,
    capture_output: bool = False,
    text: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **arguments: Any,
) -> Result:
    """See ``Engine.run()``."""
    if capture_output:
        if arguments.keys() & {"stdout", "stderr"}:
            raise UsageError("capture_output goes with neither stdout nor stderr")
        arguments |= {"stdout": PIPE, "stderr": PIPE}
    if input is not None:
        if "stdin" in arguments:
            raise UsageError("input goes without stdin")
        arguments["stdin"] = PIPE
    process = popen(image, command, _wait=False, **arguments)
    data = input.encode() if isinstance(input, str) else input or b""
    try:
        out, err = await _to_end(process, data, timeout)
    except BaseException:
        # Also CancelledError: whoever gave up waiting does not want it to go on.
        process.kill()
        try:
            await _wait_readable_until(process)
        finally:
            process.close()  # waits also when this is cancelled once more
        raise
    finally:
        process.close_pipes()
    result = process.result(*((_decode(out), _decode(err)) if text else (out, err)))
    if check:
        result.check_returncode()
    return result


async def _to_end(
    process: Process, data: bytes, timeout: float | None
) -> tuple[bytes | None, bytes | None]:
    readers = [asyncio.ensure_future(_read(pipe)) for pipe in (process.stdout, process.stderr)]
    writer = asyncio.ensure_future(_write(process.stdin, data))
    ended = asyncio.ensure_future(_wait_readable_until(process))
    try:
        try:
            await asyncio.wait_for(asyncio.shield(ended), timeout)
        except TimeoutError:
            process.end_by_timeout()
            await ended
        out, err = await asyncio.gather(*readers)
        return out, err
    finally:
        for task in (*readers, writer, ended):
            task.cancel()
        await asyncio.gather(*readers, writer, ended, return_exceptions=True)


async def _wait_readable_until(process: Process) -> None:
    while process.poll() is None:
        await _readable(process.fileno())


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _read(pipe: IO[bytes] | None) -> bytes | None:
    if pipe is None:
        return None
    os.set_blocking(pipe.fileno(), False)
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(pipe.fileno(), _PIECE)
        except BlockingIOError:
            await _readable(pipe.fileno())
            continue
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


async def _write(pipe: IO[bytes] | None, data: bytes) -> None:
    if pipe is None:
        return
    os.set_blocking(pipe.fileno(), False)
    left = memoryview(data)
    try:
        while left:
            try:
                left = left[os.write(pipe.fileno(), left) :]
            except BlockingIOError:
                await _writable(pipe.fileno())
    except BrokenPipeError:  # it did not want to read it all
        pass
    finally:
        pipe.close()


def _decode(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="surrogateescape")
