"""``newroot-oci``: runc's command line on newroot.

So far ``run``, ``spec`` and ``--version``; the rest of runc's commands say that they are not there.
"""

from __future__ import annotations

import os
import sys

from newroot.cli.flags import Flag, Positional, Verb, check_positionals, parse_words
from newroot.errors import NewrootError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context

_GLOBAL = (
    Flag(name="root", metavar="DIR", help="Where the state of what runs is kept"),
    Flag(name="log", metavar="FILE", help="Write errors to FILE"),
    Flag(name="log-format", metavar="FORMAT", choices=("text", "json"), help="How they look there"),
    Flag(name="debug", help="Show where in newroot an error came from"),
    Flag(name="version", short="v", help="Show the versions and exit"),
    Flag(name="help", help="Show this help and exit"),
)

FAILED = 1  #: runc's exit code for whatever it could not do


def main(argv: list[str] | None = None) -> int:
    """Run ``newroot-oci`` with *argv*, without the program's own name; return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    before: Parsed | None = None
    try:
        before = parse_words(words, _GLOBAL, where="newroot-oci", stops_at_positional=True)
        return _dispatch(before)
    except Exception as error:
        from newroot.cli.failures import as_ours

        if before is not None and before.is_set("debug"):
            import traceback

            traceback.print_exc()
        _log(error if isinstance(error, NewrootError) else as_ours(error), before)
        return FAILED


def _dispatch(before: Parsed) -> int:
    if before.is_set("version"):
        return _version()
    if before.is_set("help") or not before.positionals:
        print("usage: newroot-oci [OPTIONS] COMMAND [ARG...]\n\ncommands:")
        for verb in _VERBS.values():
            print(f"  {verb.name:6} {verb.summary}")
        return 0
    name, *rest = before.positionals
    verb_ = _VERBS.get(name)
    if verb_ is None:
        raise UsageError(f"no command {name!r}", hint=f"there are {', '.join(_VERBS)}")
    parsed = parse_words(
        rest, (*verb_.flags, _GLOBAL[-1]), where=f"newroot-oci {name}", stops_at_positional=True
    )
    if parsed.is_set("help"):
        from newroot.cli.help import print_verb

        return print_verb(verb_)
    check_positionals(verb_, parsed.positionals)
    return verb_.run(parsed, _context(before))


def _context(before: Parsed) -> Context:
    from newroot.cli.verbs import Context
    from newroot.container.places import default_root, default_run_root

    uid = os.geteuid()
    run_root = before.text("root")
    if run_root is not None:
        # runc's --root is all there is of its files.
        return Context(root=os.path.abspath(run_root), run_root=f"{os.path.abspath(run_root)}/run")
    root = default_root(os.environ, uid)
    return Context(root=root, run_root=default_run_root(os.environ, uid, root))


def _log(error: NewrootError, before: Parsed | None) -> None:
    """Words for a person on stderr; for the caller in the log, in the form that it parses."""
    from newroot.cli.failures import say

    say(f"newroot-oci: {error}")
    if error.hint:
        say(f"hint: {error.hint}")
    path = before.text("log") if before is not None else None
    if path is None or before is None:
        return
    from time import gmtime, strftime

    from newroot.oci import json

    entry = {
        "level": "error",
        "msg": str(error),
        "time": strftime("%Y-%m-%dT%H:%M:%SZ", gmtime()),
    }
    as_json = before.text("log_format") == "json"
    line = (
        json.dumps(entry)
        if as_json
        else " ".join(f"{key}={json.dumps(value)}" for key, value in entry.items())
    )
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as failure:
        say(f"newroot-oci: write the log {path}: {failure.strerror}")


def _version() -> int:
    from newroot.container.config import OCI_VERSION
    from newroot.version import VERSION

    print(f"newroot-oci version {VERSION}\nspec: {OCI_VERSION}")
    return 0


def _run(parsed: Parsed, context: Context) -> int:
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
    storage = ContainerStorage(context.root, context.run_root)
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


def _spec(parsed: Parsed, context: Context) -> int:
    import json

    from newroot.container.config import make_config
    from newroot.container.devices import Found
    from newroot.container.settings import Settings
    from newroot.errors import AlreadyExists
    from newroot.isolation.users import User

    path = os.path.join(parsed.text("bundle") or ".", "config.json")
    settings = Settings(command=("sh",), readonly_root=True, terminal=True)
    config = make_config(
        settings, {}, args=["sh"], user=User(), hostname="newroot", mounts=[], devices=Found()
    )
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(config, file, indent=1)
            file.write("\n")
    except FileExistsError:
        raise AlreadyExists(f"{path} is there already", hint="remove it first") from None
    return 0


_BUNDLE = Flag(
    name="bundle", short="b", metavar="DIR", help="The bundle's directory, by default this one"
)

_VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            name="run",
            summary="Run a bundle's process in a container",
            run=_run,
            flags=(
                _BUNDLE,
                Flag(name="pid-file", metavar="FILE", help="Write the process id to FILE"),
                Flag(name="no-pivot", help="Move the root instead: for a host in an initramfs"),
            ),
            positionals=(Positional(name="ID"),),
        ),
        Verb(name="spec", summary="Write a config.json to begin with", run=_spec, flags=(_BUNDLE,)),
    )
}
