"""The hooks of a config: programs that it wants run at certain points of a container's life.

    prestart, createRuntime   here, once all is mounted; the plan waits (runtime_hook_steps)
    createContainer           by newroot-init, in the container's namespaces, before the pivot
    startContainer            by newroot-init, in the container, directly before the command
    poststart, poststop       here, once the command runs; once the container is deleted

Each has the container's state as JSON on its standard input: runtime-spec, runtime.md, Lifecycle,
and config.md, POSIX-platform Hooks.  A hook gets the arguments and the environment that the config
says, and no descriptor but the three.  One that fails, or takes longer than it may, is an error,
and the container is gone; only poststop's are no more than a warning.
"""

from __future__ import annotations

import os

from newroot.errors import HookError, SpecError
from newroot.plan import steps as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    State = dict[str, Any]

#: In the order in which they come; the status that the container has then.
STATUS_AT = {
    "prestart": "creating",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}
POINTS = tuple(STATUS_AT)

RUNTIME_POINTS = ("prestart", "createRuntime")  #: while the plan waits
WAIT = "the runtime's hooks are run"  #: the reason of that Wait
_SHOWN = 2000  #: what is shown of a hook's output, from its end


def check_hooks(config: dict[str, Any]) -> None:
    """Raise SpecError for a hook that cannot be run as the config says it."""
    for point, hooks in (config.get("hooks") or {}).items():
        if point not in STATUS_AT:
            continue  # Extensibility
        for index, hook in enumerate(hooks or ()):
            pointer = f"/hooks/{point}/{index}"
            path, timeout = hook.get("path"), hook.get("timeout")
            if not path or not path.startswith("/"):
                raise SpecError(f"not an absolute path: {path!r:.100}", pointer=f"{pointer}/path")
            if timeout is not None and not 0 < timeout < 2**31:
                raise SpecError("not greater than zero", pointer=f"{pointer}/timeout")


def hooks_at(config: dict[str, Any], point: str) -> list[dict[str, Any]]:
    """The hooks of *config* at *point*, in their order."""
    return (config.get("hooks") or {}).get(point) or []


# ---- in the plan ----


def runtime_hook_steps(config: dict[str, Any]) -> tuple[s.Step, ...]:
    """The step at which the plan waits for prestart and createRuntime, if there are any."""
    if not any(hooks_at(config, point) for point in RUNTIME_POINTS):
        return ()
    return (s.Wait(reason=WAIT, why="they see all that is mounted, and may add to it"),)


def container_hook_steps(config: dict[str, Any], point: str) -> tuple[s.Step, ...]:
    """The steps that run the hooks of *point*, createContainer or startContainer."""
    return tuple(
        s.RunHook(
            point=point,
            path=hook["path"],
            argv=_argv(hook),
            env=tuple(hook.get("env") or ()),
            timeout_s=hook.get("timeout") or 0,
            on_host=point == "createContainer",
            why="asked for",
        )
        for hook in hooks_at(config, point)
    )


def _argv(hook: dict[str, Any]) -> tuple[str, ...]:
    return tuple(hook.get("args") or (hook["path"],))


# ---- the state ----


def hook_state(state: State, point: str, pid: int) -> State:
    """*state* as a hook at *point* gets it: the container's first process is *pid*."""
    found = {**state, "status": STATUS_AT[point]}
    found.pop("pid", None)
    if point != "poststop":
        found["pid"] = pid
    return found


def pid_inside(pid: int) -> int:
    """The *pid* that a process has in its own pid namespace: proc_pid_status(5), NSpid.

    A hook that is run in the container's namespaces is told this one: runtime.md, State.
    """
    with open(f"/proc/{pid}/status", "rb") as file:
        line = next((line for line in file if line.startswith(b"NSpid:")), b"")
    return int(line.split()[-1]) if line else pid


def state_file(state: State) -> int:
    """A descriptor that *state* can be read from, to its end."""
    from newroot.oci import json

    fd = os.memfd_create("newroot-hook-state", os.MFD_CLOEXEC)
    os.write(fd, json.dumps(state).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def output_file() -> int:
    """A descriptor that a hook writes to, for ``shown_output()``."""
    return os.memfd_create("newroot-hook-output", os.MFD_CLOEXEC)


def shown_output(fd: int) -> str:
    """What a hook wrote to an ``output_file()``, from its end, on one line."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, _SHOWN, max(0, size - _SHOWN))
    return " ".join(data.decode("utf-8", "replace").split())


# ---- in the runtime's namespaces ----


def run_hooks(config: dict[str, Any], point: str, state: State, pid: int) -> None:
    """Run the hooks of *point* here, one after the other.  Raises HookError for one that fails."""
    for index, hook in enumerate(hooks_at(config, point)):
        _run_hook(hook, f"{point} hook {index}, {hook['path']}", hook_state(state, point, pid))


def run_poststop_hooks(config: dict[str, Any], state: State, warn: Callable[[str], None]) -> None:
    """Run the poststop hooks, all of them: one that fails is a warning (runtime.md, Lifecycle)."""
    for index, hook in enumerate(hooks_at(config, "poststop")):
        words = f"poststop hook {index}, {hook['path']}"
        try:
            _run_hook(hook, words, hook_state(state, "poststop", 0))
        except HookError as error:
            warn(str(error))


def _run_hook(hook: dict[str, Any], words: str, state: State) -> None:
    # Not at the top: 15 ms for what few containers have.
    import subprocess

    given, output = state_file(state), output_file()
    bundle = state.get("bundle") or "/"
    try:
        process = subprocess.Popen(
            _argv(hook),
            executable=hook["path"],
            env=dict(word.partition("=")[::2] for word in hook.get("env") or ()),
            cwd=bundle if os.path.isdir(bundle) else "/",
            stdin=given,
            stdout=output,
            stderr=output,
        )
        try:
            status = process.wait(hook.get("timeout"))
        except subprocess.TimeoutExpired:
            raise _failed(words, f"it took longer than {hook['timeout']} s", output) from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    except OSError as error:
        raise HookError(f"run the {words}: {error.strerror}") from error
    else:
        if status:
            raise _failed(words, _ending(status), output)
    finally:
        os.close(given)
        os.close(output)


def _failed(words: str, how: str, output: int) -> HookError:
    said = shown_output(output)
    return HookError(f"run the {words}: {how}" + (f", output: {said}" if said else ""))


def _ending(returncode: int) -> str:
    return f"signal {-returncode} ended it" if returncode < 0 else f"exit status {returncode}"
