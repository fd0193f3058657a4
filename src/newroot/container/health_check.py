"""One health check: the container's own command, run in it by ``exec``, and its answer noted."""

from __future__ import annotations

from time import time

from newroot.container.exec import Asked, exec_in
from newroot.container.health import Answer, health_of, note_answer
from newroot.container.kept_settings import read_settings
from newroot.container.pipes import DEVNULL, PIPE, open_stdio
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.process import Result
    from newroot.container.storage import ContainerStorage
    from newroot.plan.launcher import Launcher

_NS = 10**9


def check(storage: ContainerStorage, container_id: str, launcher: Launcher) -> bool:
    """Ask now, and note what came of it; whether the container was well.

    Raises UsageError when it has no health check, WrongStatus when it does not run.
    """
    record = storage.record(container_id)
    image = (record.get("from") or {}).get("image") or {}
    health = health_of(read_settings(record.get("settings") or {}), image)
    if health is None:
        raise UsageError(
            f"container {container_id[:12]} has no health check",
            hint="newroot run --health-cmd COMMAND",
        )
    began = time()
    stdio = open_stdio(DEVNULL, PIPE, PIPE)
    process = exec_in(storage, container_id, Asked(command=health.command), launcher, stdio)
    try:
        out, err = process.run_to_end(None, health.timeout_ns / _NS)
    except BaseException:
        process.close()
        raise
    finally:
        process.close_pipes()
    answer = _answer(process.result(out, err), health.timeout_ns, began, time())
    age_s = began - float(record.get("started") or began)
    note_answer(storage, container_id, health, answer, age_s)
    return answer.exit_code == 0


def _answer(result: Result, timeout_ns: int, began: float, ended: float) -> Answer:
    said = b"".join(each for each in (result.stdout, result.stderr) if isinstance(each, bytes))
    output, code = said.decode("utf-8", "replace"), result.returncode
    if result.fault == "timeout":
        output = f"Health check exceeded timeout ({timeout_ns / _NS:g}s): {output}"
        code = -1
    elif result.fault == "start":
        output = str(result.error)
    elif code < 0:
        code = 128 - code
    return Answer(started=began, ended=ended, exit_code=code, output=output)
