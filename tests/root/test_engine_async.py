"""``Engine.run_async()``: the same as ``run()``, beside whatever else the loop does."""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import Any

import pytest

from newroot.container.process import Result
from newroot.engine import Engine
from newroot.errors import StepError, UsageError
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]


def test_fifty_at_once_each_get_their_own_answer(engine: Engine) -> None:
    async def one(n: int) -> Result:
        return await engine.run_async(
            "busybox", ["sh", "-c", f"cat; echo {n}"], input=f"{n} ", capture_output=True, text=True
        )

    async def all_of_them() -> list[Result]:
        return await asyncio.gather(*map(one, range(50)))

    done = asyncio.run(all_of_them())

    assert [result.stdout for result in done] == [f"{n} {n}\n" for n in range(50)]
    assert engine._processes == set()


def test_they_run_side_by_side(engine: Engine) -> None:
    async def ten() -> None:
        sleeps = (engine.run_async("busybox", ["sleep", "0.5"]) for _ in range(10))
        await asyncio.gather(*sleeps)

    began = monotonic()
    asyncio.run(ten())

    assert monotonic() - began < 4


def test_the_loop_goes_on_meanwhile(engine: Engine) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def both() -> None:
        ticker = asyncio.ensure_future(tick())
        await engine.run_async("busybox", ["sleep", "0.5"])
        ticker.cancel()

    asyncio.run(both())

    assert ticks >= 5


def test_a_megabyte_goes_both_ways(engine: Engine) -> None:
    data = os.urandom(1 << 20)
    done = asyncio.run(
        engine.run_async("busybox", ["cat"], input=data, capture_output=True, check=True)
    )

    assert done.stdout == data


def test_cancelling_ends_it(engine: Engine) -> None:
    async def cancelled() -> int:
        task = asyncio.ensure_future(
            engine.run_async("busybox", ["sleep", "100"], upper="disk", capture_output=True)
        )
        while not engine._processes:
            await asyncio.sleep(0.01)
        (process,) = engine._processes
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert process.returncode == -9
        return process.pid

    pid = asyncio.run(cancelled())

    assert not os.path.exists(f"/proc/{pid}")
    assert os.listdir(engine.run_root) == []
    assert engine._processes == set()


def test_time_that_is_over_ends_it(engine: Engine) -> None:
    done = asyncio.run(
        engine.run_async(
            "busybox", ["sh", "-c", "echo x; sleep 100"], capture_output=True, timeout=0.1
        )
    )

    assert (done.fault, done.returncode, done.stdout) == ("timeout", -9, b"x\n")


def test_a_wait_for_around_it_ends_it(engine: Engine) -> None:
    async def limited() -> None:
        await asyncio.wait_for(engine.run_async("busybox", ["sleep", "100"]), 0.1)

    with pytest.raises(TimeoutError):
        asyncio.run(limited())
    assert engine._processes == set()


def test_it_says_what_run_says(engine: Engine) -> None:
    async def result(*command: str, **words: Any) -> Result:
        return await engine.run_async("busybox", command, **words)

    missing = asyncio.run(result("nope"))

    assert (missing.returncode, missing.fault) == (127, "start")
    with pytest.raises(StepError):
        asyncio.run(result("nope", check=True))
    with pytest.raises(UsageError):
        asyncio.run(result("true", capture_output=True, stdout=1))
    with pytest.raises(UsageError):
        asyncio.run(result("true", tty=True))
