"""A bundle's config on this host: checked before anything is made, completed as runc completes it.

What the document says by itself is checked in oci/config.py and by who makes steps of it; here is
what only a look at the host can tell.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Config = dict[str, Any]


def check_host(config: Config) -> None:
    """Raise SpecError or UnsupportedError for what *config* asks for and this host cannot do."""
    process, linux = config.get("process") or {}, config.get("linux") or {}
    if any(space.get("path") for space in linux.get("namespaces") or ()):
        from newroot.isolation.namespaces import check_paths

        check_paths(linux["namespaces"])
    if config.get("hooks"):
        from newroot.container.hooks import check_hooks

        check_hooks(config)
    if process.get("apparmorProfile") or process.get("selinuxLabel") or linux.get("mountLabel"):
        from newroot.isolation.labels import check_labels

        check_labels(process, linux)
    if linux.get("sysctl"):
        from newroot.isolation.sysctls import check_sysctls

        check_sysctls(config)


def has_user_namespace(config: Config) -> bool:
    """Whether one is made or joined."""
    spaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(space.get("type") == "user" for space in spaces)


def held_capabilities(*, in_user_namespace: bool) -> int | None:
    """The capabilities that there are to give, None for all of them."""
    from newroot.linux import capabilities

    # In a user namespace of its own it has them all: user_namespaces(7).
    return None if in_user_namespace else capabilities.mask(capabilities.held())


def warn_of_capabilities(
    process: dict[str, Any], warn: Callable[[str], None], *, inside: bool
) -> None:
    """Tell *warn* what *process* asks for and is not given (config.md, Linux Process).

    *inside* a user namespace all are there to give.
    """
    from newroot.isolation.capabilities import left_out

    held = held_capabilities(in_user_namespace=inside)
    for name in left_out(process.get("capabilities"), held):
        warn(f"the capability {name} cannot be given")


def environment(process: dict[str, Any], rootfs: str) -> list[str]:
    """``process.env`` as runc hands it on: the last of a name, and a HOME if there is none.

    *rootfs* is looked into for the user's home directory, as the container sees it before its
    mounts are there.  Raises SpecError for a word that is no variable.
    """
    found = {word.partition("=")[0]: word for word in process.get("env") or ()}
    if "" in found or not all(map(_has_value, found.values())):
        _refuse_word(process["env"])
    if not found.get("HOME", "HOME=").partition("=")[2]:
        uid = int((process.get("user") or {}).get("uid", 0))
        found["HOME"] = f"HOME={_home(uid, rootfs)}"
    return list(found.values())


def _has_value(word: str) -> bool:
    return "=" in word


def _refuse_word(env: list[str]) -> NoReturn:
    """environ(7): a variable is a name, an equals sign and a value."""
    from newroot.errors import SpecError

    index = next(i for i, word in enumerate(env) if not word.partition("=")[0] or "=" not in word)
    raise SpecError(f"not NAME=VALUE: {env[index]!r:.100}", pointer=f"/process/env/{index}")


def _home(uid: int, rootfs: str) -> str:
    from newroot.isolation.users import home_of
    from newroot.linux.paths import read_in_root

    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return home_of(uid, lambda path: read_in_root(root, path))
    finally:
        os.close(root)


def make_resource_group(config: Config, container_id: str) -> tuple[str, ...]:
    """Make the class of ``linux.intelRdt``, if there is one; the files to join it by."""
    rdt = (config.get("linux") or {}).get("intelRdt")
    if not rdt:
        return ()
    from newroot.isolation.intel_rdt import find_resctrl, prepare

    return prepare(rdt, container_id, find_resctrl())


def resource_group(config: Config, container_id: str) -> tuple[str, ...]:
    """What ``make_resource_group()`` returned."""
    rdt = (config.get("linux") or {}).get("intelRdt")
    if not rdt:
        return ()
    from newroot.isolation.intel_rdt import files, find_resctrl

    return files(rdt, container_id, find_resctrl())


def remove_resource_group(config: Config, container_id: str) -> None:
    """Remove what ``make_resource_group()`` made."""
    rdt = (config.get("linux") or {}).get("intelRdt")
    if rdt:
        from newroot.isolation.intel_rdt import find_resctrl, remove

        remove(rdt, container_id, find_resctrl())


def keyring(container_id: str, *, wanted: bool) -> str:
    """The name of a container's session keyring, runc's; "" to keep the caller's."""
    return f"_ses.{container_id}" if wanted else ""
