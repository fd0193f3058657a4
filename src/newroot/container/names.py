"""The names a user may give: containers, hosts, users, signals.  (Volumes: rootfs/volumes.py.)

A name that passed here is safe as one component of a path.  Checked by character, because ``re``
costs more to import than a container costs to start.
"""

from __future__ import annotations

from newroot.errors import UsageError

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALNUM | frozenset("_.-")
_ID = _NAME | frozenset("+")
_HOST_LABEL = _ALNUM | frozenset("-")


def check_container_name(name: str) -> str:
    """Return *name* when it is one that Docker would take: ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``."""
    if len(name) < 2 or len(name) > 255 or name[0] not in _ALNUM or not _NAME.issuperset(name):
        raise UsageError(
            f"invalid container name {name!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed",
            hint="at least two characters, at most 255",
        )
    return name


def check_container_id(name: str) -> str:
    """Return *name* when it is an id that runc would take: its libcontainer, validateID()."""
    if not name or len(name) > 255 or name in (".", "..") or not _ID.issuperset(name):
        raise UsageError(
            f"invalid container id {name!r:.80}",
            hint="letters, digits, and any of _ + - . ; at most 255 in all",
        )
    return name


def check_hostname(name: str) -> str:
    """Return *name* when it is a host name (RFC 1123, section 2.1) that the kernel holds."""
    labels = name.split(".")
    # __NEW_UTS_LEN is 64: uname(2), sethostname(2).
    if len(name) > 64 or not all(map(_is_label, labels)):
        raise UsageError(
            f"invalid hostname {name!r}",
            hint="letters, digits, inner hyphens, dots between parts; at most 64 (RFC 1123)",
        )
    return name


def _is_label(label: str) -> bool:
    return (
        0 < len(label) <= 63
        and _HOST_LABEL.issuperset(label)
        and label[0] != "-"
        and label[-1] != "-"
    )


def check_user(user: str) -> str:
    """Return *user* when it has the form ``USER[:GROUP]``; who that is, only the root knows."""
    name, colon, group = user.partition(":")
    if not name or (colon and not group) or ":" in group or "\0" in user or "\n" in user:
        raise UsageError(f"invalid user {user!r}", hint="write USER[:GROUP], names or numbers")
    return user


def parse_signal(text: str) -> str:
    """The signal's full name: ``term``, ``SIGTERM`` and ``15`` are ``SIGTERM``."""
    from newroot.linux.signals import signal_name, signal_number

    return signal_name(signal_number(text))
