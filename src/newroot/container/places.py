"""Where newroot keeps its files when nobody says otherwise."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def default_root(environ: Mapping[str, str], uid: int) -> str:
    """Images, layers, containers, volumes: NEWROOT_ROOT, /var/lib/newroot, or the user's own."""
    if chosen := environ.get("NEWROOT_ROOT"):
        return os.path.abspath(chosen)
    return _usual_root(environ, uid)


def _usual_root(environ: Mapping[str, str], uid: int) -> str:
    if _owner(uid) == 0:
        return "/var/lib/newroot"
    # XDG Base Directory Specification: a relative value is to be ignored.
    data = environ.get("XDG_DATA_HOME", "")
    if not data.startswith("/"):
        data = os.path.join(_home(environ), ".local/share")
    return os.path.join(data, "newroot")


def default_run_root(environ: Mapping[str, str], uid: int, root: str) -> str:
    """What runs now: NEWROOT_RUN_ROOT, or for *root* /run/newroot, or the user's own.

    A root that was chosen has its own, in it: what is left in one is told by what the other says.

    A user without a session has no XDG_RUNTIME_DIR.  A name in /tmp could be somebody else's, so
    it is then a directory in *root*, which outlives a reboot; a state says which boot it is of.
    """
    if chosen := environ.get("NEWROOT_RUN_ROOT"):
        return os.path.abspath(chosen)
    if root != _usual_root(environ, uid):
        return os.path.join(root, "run")
    uid = _owner(uid)
    if uid == 0:
        return "/run/newroot"
    for directory in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        if directory.startswith("/") and os.access(directory, os.W_OK):
            return os.path.join(directory, "newroot")
    return os.path.join(root, "run")


def default_oci_root(environ: Mapping[str, str], uid: int) -> str:
    """The state of ``newroot-oci``'s containers, where its caller does not name a place.

    Who is root only in a user namespace of podman's is the user whose XDG_RUNTIME_DIR it is.
    """
    if uid == 0:
        run = environ.get("XDG_RUNTIME_DIR")
        if run and environ.get("USER") != "root" and not os.access("/run", os.W_OK):
            return f"{run}/newroot-oci"
        return "/run/newroot-oci"
    return f"{default_run_root(environ, uid, _usual_root(environ, uid))}-oci"


def _owner(uid: int) -> int:
    """Who is root only of a user namespace in the host's root is the user that made it."""
    if uid != 0 or os.access("/var/lib", os.W_OK):
        return uid
    from newroot.linux.user_namespaces import root_outside

    return root_outside() or 0


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")
