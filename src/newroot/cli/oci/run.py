"""``newroot-oci run``: create a container, start it, and stay with it until it has ended."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _run(parsed: Parsed, context: OciContext) -> int:
    from newroot.cli.oci.log import warn
    from newroot.container.bundle import start_bundle
    from newroot.container.foreground import attend, inherited
    from newroot.container.names import check_container_id
    from newroot.container.storage import ContainerStorage
    from newroot.container.sweep import sweep
    from newroot.oci.config import read_config
    from newroot.plan.launcher import Launcher

    name = check_container_id(parsed.positionals[0])  # it becomes a file's name
    bundle = parsed.text("bundle") or "."
    config = read_config(os.path.join(bundle, "config.json"))
    storage = ContainerStorage(context.root, f"{context.root}/run")
    sweep(storage)
    claim = storage.claim(name=name, remove=True)
    launcher = Launcher()
    try:
        terminal = bool(config["process"].get("terminal"))
        stdio, size = inherited(terminal=terminal, interactive=True)
        process = start_bundle(
            config,
            bundle,
            claim,
            storage,
            launcher,
            stdio,
            switch="move" if parsed.is_set("no_pivot") else "pivot",
            terminal_size=size,
            warn=warn,
        )
        return attend(process, interactive=True, on_start=lambda: _write_pid(parsed, process.pid))
    finally:
        launcher.close()


def _write_pid(parsed: Parsed, pid: int) -> None:
    path = parsed.text("pid_file")
    if path is None:
        return
    beside = f"{path}.new"
    with open(beside, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(beside, path)


RUN = Verb(
    name="run",
    summary=VERBS["run"][1],
    run=_run,
    flags=(
        Flag(
            name="bundle",
            short="b",
            metavar="DIR",
            help="The bundle's directory, by default this one",
        ),
        Flag(name="pid-file", metavar="FILE", help="Write the process id to FILE"),
        Flag(name="no-pivot", help="Move the root instead: for a host in an initramfs"),
    ),
    positionals=(Positional(name="ID"),),
)
