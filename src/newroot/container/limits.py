"""The cgroup of one start: made where its limits can be kept, or refused with the reason.

Root makes it by itself.  An ordinary user may where a part of the tree is delegated, and else asks
its own systemd for a scope, on cgroup v2.  What cannot be kept is an error unless the user said
``--limits best-effort``; then it is said, and the container starts without.
"""

from __future__ import annotations

import os

from newroot.errors import SyscallError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.storage import Claim
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.detect import CgroupHost

_REFUSALS = (1, 13, 30)  # EPERM, EACCES, EROFS


def make_cgroup(
    resources: dict[str, Any], claim: Claim, host: CgroupHost, *, whole: bool
) -> Cgroup:
    """The cgroup of *claim*'s container with these limits; a *whole* one also to be counted and
    frozen by.  Raises what ``Cgroup.create()`` does."""
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.cgroups.demand import can_freeze, countable

    path = host.default_path(claim.id)
    claim.write_state(cgroup=path)
    return Cgroup.create(
        path,
        resources,
        host=host,
        controllers=countable(host) if whole else (),
        freezer=whole and can_freeze(host),
    )


def make_user_cgroup(
    resources: dict[str, Any],
    claim: Claim,
    host: CgroupHost,
    *,
    required: bool,
    warn: Callable[[str], object],
) -> Cgroup | None:
    """The same for an ordinary user; None, and a word of why, when it is not *required*."""
    # Relative to where we are it would be another one for the next command, so all of its path.
    try:
        return _delegated(resources, claim, host) or _scope(resources, claim, host)
    except (SyscallError, UnsupportedError) as error:
        if isinstance(error, SyscallError) and error.errno not in _REFUSALS:
            raise
        if required:
            raise _refused(error) from error
        claim.write_state(cgroup=None)
        warn(f"the limits are not kept: {error}")
        return None


def _delegated(resources: dict[str, Any], claim: Claim, host: CgroupHost) -> Cgroup | None:
    """In a part of the tree that is ours already; None where asking systemd is worth a try."""
    from newroot.isolation.cgroups.cgroup import Cgroup

    unified = host.unified
    if host.mode == "v2" and unified is not None:
        if not os.access(unified.base(), os.W_OK):
            return None
    path = host.default_path(claim.id)
    claim.write_state(cgroup=path)
    cgroup = Cgroup.create(path, resources, host=host)
    if host.mode == "v2" and unified is not None and cgroup.directories:
        claim.write_state(cgroup=cgroup.directories[0].removeprefix(unified.mount.rstrip("/")))
    return cgroup


def _scope(resources: dict[str, Any], claim: Claim, host: CgroupHost) -> Cgroup:
    from newroot.isolation.cgroups.scope import Scope, go_below_manager
    from newroot.isolation.cgroups.systemd import unit_name

    go_below_manager(host)
    name = unit_name(None, claim.id, user=True)
    scope = Scope.start(name, claim.id, resources, host=host, user=True, properties={})
    claim.write_state(cgroup=scope.path)
    return scope


def _refused(error: SyscallError | UnsupportedError) -> UnsupportedError:
    return UnsupportedError(
        f"this user cannot set limits here: {error}",
        feature="limits without root",
        tried=str(error),
        hint="log in to a systemd user session on cgroup v2, or go without: --limits best-effort",
    )
