"""``process`` of an OCI config becomes the steps that say who it is and what it may do.

The order is forced (a law in ``plan/order.py`` each):

- The bounding set is dropped while CAP_SETPCAP is still held: capabilities(7).
- A filter needs CAP_SYS_ADMIN to be loaded, or no_new_privs: seccomp(2).  It is loaded last, so
  that it need not allow what the steps before it do.  Without no_new_privs the capability is kept
  until then, and given up directly afterwards.
- The wish to die with the parent is forgotten when ids change: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.isolation import capabilities, limits
from newroot.plan import steps as s

_CAP_SYS_ADMIN = 1 << 21

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def identity_steps(
    process: dict[str, Any],
    seccomp: tuple[bytes, int] | None,
    *,
    dies_with_parent: bool,
    before_filter: tuple[s.Step, ...] = (),
    available: int | None = None,
    single_id: bool = False,
    fake_ids: bool = False,
) -> tuple[s.Step, ...]:
    """The steps for ``process``, from its limits to its filter.

    *before_filter* are done as who it will be, in its working directory.  *available* are the
    capabilities that there are to give, a mask; None: all that the kernel knows.  *single_id*: the
    caller's user namespace has one, and so no setgroups(2); *fake_ids*: see fake_ids.py.
    """
    no_new_privs = bool(process.get("noNewPrivileges"))
    sets = capabilities.from_oci(process.get("capabilities"), available=available)
    filters = _filters(seccomp, fake_ids=fake_ids)
    lent = 0 if not filters or no_new_privs else _CAP_SYS_ADMIN & ~sets.effective
    return (
        *_oom_score(process),
        *(
            s.SetRlimit(resource=number, soft=soft, hard=hard, why="asked for")
            for number, soft, hard in limits.from_oci(process.get("rlimits"))
        ),
        s.SetBounding(keep=sets.bounding, why="no program can ever get the others back"),
        *_early_cwd_step(process),
        user_step(process.get("user") or {}, keep_groups=single_id),
        s.SetCapabilities(
            effective=sets.effective | lent,
            permitted=sets.permitted | lent,
            inheritable=sets.inheritable,
            ambient=sets.ambient,
            why="root in here is less than root out there",
        ),
        *(_death_step() if dies_with_parent else ()),
        *((s.SetNoNewPrivs(why="asked for"),) if no_new_privs else ()),
        *_cwd_step(process),
        *before_filter,
        *filters,
        *(_give_back(sets) if lent else ()),
    )


def _give_back(sets: capabilities.Masks) -> tuple[s.Step, ...]:
    return (
        s.SetCapabilities(
            effective=sets.effective,
            permitted=sets.permitted,
            inheritable=sets.inheritable,
            ambient=None,
            why="CAP_SYS_ADMIN was for the filter alone",
        ),
    )


def _filters(seccomp: tuple[bytes, int] | None, *, fake_ids: bool) -> tuple[s.Step, ...]:
    found: list[s.Step] = []
    if fake_ids:
        from newroot.isolation.fake_ids import fake_ids_filter

        program, flags = fake_ids_filter()
        why = "there is one id, and package managers want others"
        found.append(s.LoadSeccomp(program=program, flags=flags, why=why))
    if seccomp is not None:
        why = "system calls that a container does not need are refused"
        found.append(s.LoadSeccomp(program=seccomp[0], flags=seccomp[1], why=why))
    return tuple(found)


def _oom_score(process: dict[str, Any]) -> tuple[s.Step, ...]:
    score = process.get("oomScoreAdj")
    if score is None:
        return ()
    if not isinstance(score, int) or not -1000 <= score <= 1000:
        raise SpecError(f"not between -1000 and 1000: {score!r}", pointer="/process/oomScoreAdj")
    return (s.SetOomScore(score=score, why="asked for"),)


def _death_step() -> tuple[s.Step, ...]:
    return (s.DieWithParent(why="no orphan is left, however its owner ends"),)


def _early_cwd_step(process: dict[str, Any]) -> tuple[s.Step, ...]:
    """Docker's users may start in a directory that they may not enter: runc, finalizeNamespace."""
    cwd = process["cwd"]
    if cwd == "/" or not (process.get("user") or {}).get("uid"):
        return ()
    return (s.SetCwd(path=cwd, before_user=True, why="its user may not be let in"),)


def _cwd_step(process: dict[str, Any]) -> tuple[s.Step, ...]:
    # Last of all and inside the new root: CVE-2024-21626 was a working directory from before it.
    return (s.SetCwd(path=process["cwd"], why="from the image, or as asked for"),)


def user_step(user: dict[str, Any], *, keep_groups: bool = False) -> s.SetUser:
    """``process.user`` as a step.  Raises SpecError for ids that are no ids."""
    uid = _id(user.get("uid", 0), "/process/user/uid")
    gid = _id(user.get("gid", 0), "/process/user/gid")
    groups = tuple(
        _id(group, f"/process/user/additionalGids/{n}")
        for n, group in enumerate(user.get("additionalGids") or ())
    )
    umask = _id(user.get("umask", 0o022), "/process/user/umask")
    if umask > 0o777:
        raise SpecError(f"not a umask: {umask:o}", pointer="/process/user/umask")
    return s.SetUser(
        uid=uid,
        gid=gid,
        groups=groups,
        umask=umask,
        keep_groups=keep_groups,
        why="who it is in there",
    )


def _id(value: object, pointer: str) -> int:
    # 2**32 - 1 means "no change" to setresuid(2).
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32 - 1:
        raise SpecError(f"not an id: {value!r}", pointer=pointer)
    return value
