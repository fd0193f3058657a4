"""A few threads that share one list of work: the first failure stops all of them.

Threads suffice for layers and blobs: reading, hashing, decompressing and writing hold no GIL.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")

_LOOK_AGAIN_S = 0.2


class Crew(Generic[Item]):
    """Does *do* with each of *todo*, in their order, *at_once* at a time.

    After a failure no more is begun, and *stop* is called, which ends what is being done.
    """

    def __init__(
        self,
        todo: Iterable[Item],
        do: Callable[[Item], None],
        *,
        at_once: int,
        stop: Callable[[], None],
        name: str,
    ) -> None:
        self._todo = list(todo)[::-1]
        self._do = do
        self._stop = stop
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"newroot-{name}-{i}", daemon=True)
            for i in range(min(at_once, len(self._todo)))
        ]

    def run(self, *, is_stuck: Callable[[], bool] = lambda: False) -> None:
        """Return when all is done.  Raises what the first failure raised.

        When this thread is interrupted it waits for the others to stop, unless *is_stuck* says
        that one of them waits for something that ``stop`` does not end.
        """
        try:
            for thread in self._threads:
                thread.start()
            for thread in self._threads:
                thread.join()
        except BaseException as error:
            self._fail(error)
            while any(thread.is_alive() for thread in self._threads) and not is_stuck():
                self._threads[0].join(_LOOK_AGAIN_S)
            raise
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._failure is not None or not self._todo:
                    return
                item = self._todo.pop()
            try:
                self._do(item)
            except BaseException as error:
                self._fail(error)
                return

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error
        self._stop()
