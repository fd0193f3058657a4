"""A plan as a bash script: the same steps by the hands of util-linux.

For people who want to see or to try what newroot-init does, and for the test that compares the
two.  The script needs bash, util-linux 2.38 and coreutils on the host, and nothing in the image.
Pure: text from data, one comment and one function for each step.
"""

from __future__ import annotations

from newroot.linux import capabilities
from newroot.plan import steps as s
from newroot.plan.encode import escape_layer, sysctl_path
from newroot.plan.steps import OWN_TIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_")
_IN_OPTIONS = _PLAIN - frozenset(",:=")  #: what mount(8) and overlay both leave as it is
_PAGE = 4096  #: the most that mount(2) takes as options

_HEAD = """\
#!/usr/bin/env bash
# What newroot does for this container, with the tools of util-linux: each step with its reason.
#
# Run it as root: bash FILE.  The namespaces end with the command, and all the mounts with them.
# What it is not: newroot-init does the same on file descriptors, so no change of the image can
# lead it elsewhere meanwhile.  These tools go by name.  Symlinks of the image are resolved inside
# it by at(), but between that and the mount they may change: do not run this on an image that
# somebody else can write to.
set -euo pipefail
umask 022
PATH=$PATH:/usr/sbin:/sbin
into=()

# exec, with no descriptors but the standard ones and 3.
leave() {
  local fd
  for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    ((fd <= 3)) || eval "exec $fd<&-"
  done
  exec "$@"
}
"""

_INSIDE = """\
exec 3<&- # this script is read through a descriptor of bash's own
set -euo pipefail
shopt -s lastpipe
umask 022
cd /
tool=() bin='' last=() privileges=() cwd=/

# target=the place of a path of the new root, its symlinks resolved as inside: openat2(2)
at() {
  local rest=$1/ name link links=0
  target=$root
  while [ -n "$rest" ]; do
    name=${rest%%/*} rest=${rest#*/}
    case $name in
      '' | .) ;;
      ..) [ "$target" = "$root" ] || target=${target%/*} ;;
      *)
        if [ ! -L "$target/$name" ]; then
          target=$target/$name
          continue
        fi
        ((++links <= 40)) || { echo "$1: too many symlinks" >&2 && exit 1; }
        link=$(readlink -n -- "$target/$name" && echo .) rest=${link%.}/$rest
        case $link in /*) target=$root ;; esac
        ;;
    esac
  done
}

# Make the target a directory or a file, as the source is.
make_as() {
  if [ -d "$1" ]; then
    mkdir -p -- "$target"
  else
    mkdir -p -- "${target%/*}"
    [ -e "$target" ] || : >"$target"
  fi
}

# Change the attributes of a mount and of all below it: mount_setattr(2), AT_RECURSIVE
remount_all() {
  local place
  findmnt --raw --noheadings --submounts --output TARGET -- "$2" | while read -r place; do
    printf -v place %b "$place"
    mount -o "remount,bind,$1" -- "$place"
  done
}
"""

_KEEP_TOOLS = """\
# The image may have no tools, and the host's will be out of reach.  These come along with
# their loader and libraries, in a directory that only this process still stands in.
tools=${root%/*}/tools
mkdir -m 755 -- "$tools"
programs=("$(type -P umount)" "$(type -P prlimit)" "$(type -P setpriv)" "$(type -P env)")
ldd "${programs[@]}" | sed -n 's/.*[[:space:]]\\(\\/.*\\) (0x.*/\\1/p' | sort -u |
  while read -r library; do cp -L -- "$library" "$tools"; done
cp -L -- "${programs[@]}" "$tools"
loader=("$tools"/ld-*)
tool=("./${loader[0]##*/}" --library-path .) bin=./
"""


def render(plan: s.Plan) -> str:
    """The script that does *plan*'s steps."""
    outside = _leading(plan.steps)
    lines = [_HEAD, *_beforehand(plan)]
    for number, step in enumerate(plan.steps, 1):
        if number == outside + 1:
            # On a descriptor, so that the command's standard input stays the caller's.
            lines += ["exec 3<<'NEWROOT'", _INSIDE]
        lines += [_comment(f"{number}. {step.explain()}", step.why)]
        lines += _lines(step, number <= outside)
        lines += [""]
    lines += ["NEWROOT", 'leave "${into[@]}" bash /dev/fd/3']
    return "\n".join(lines) + "\n"


def quote(text: str | bytes) -> str:
    """One word for bash, whatever bytes it holds; always printable."""
    value = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    if value and _PLAIN.issuperset(value):
        return value
    if value.isprintable() and "'" not in value:
        return f"'{value}'"
    return "$'" + "".join(map(_escape, value)) + "'"


def _escape(char: str) -> str:
    if char in "\\'":
        return "\\" + char
    if char.isprintable():
        return char
    return _WORDS.get(char) or "".join(
        f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape")
    )


_WORDS = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _comment(what: str, why: str) -> str:
    text = f"{what}: {why}" if why else what
    return "# " + "".join(char if char.isprintable() else _escape(char) for char in text)


def _words(*words: str) -> str:
    return " ".join(map(quote, words))


# ---- before the plan ----


def _beforehand(plan: s.Plan) -> list[str]:
    """The directories that newroot makes before it hands a plan over."""
    made = {step.target for step in plan.steps if isinstance(step, s.MakeDir) and step.on_host}
    needed = [
        path
        for step in plan.steps
        for path in _needed(step)
        if path not in made and not any(path.startswith(known + "/") for known in made)
    ]
    if not needed:
        return []
    words = _words(*dict.fromkeys(needed))
    return ["# The directories that are there before the first step.", f"mkdir -p -- {words}", ""]


def _needed(step: s.Step) -> tuple[str, ...]:
    if isinstance(step, s.MountFs) and step.on_host:
        return (step.target,)
    if isinstance(step, s.MountOverlay) and step.upper is not None and step.work is not None:
        return (step.upper, step.work)
    return ()


# ---- namespaces: each of these is a program that starts the next one ----

_UNSHARE = ("mount", "uts", "ipc", "net", "pid", "cgroup", "user", "time")


def _leading(steps: tuple[s.Step, ...]) -> int:
    """How many of the first steps are done by starting the shell in a certain way."""
    return next((n for n, step in enumerate(steps) if type(step) not in _OUTSIDE), len(steps))


def _unshare(step: s.Unshare) -> list[str]:
    names = [f"--{name}" for name in _UNSHARE if name in step.namespaces]
    if step.namespaces == ("cgroup",):
        return [f"into+=(unshare {_words(*names)} --)"]
    if step.namespaces == ("time",):
        return ["into+=(unshare --time)"]  # what follows ends its options
    kept = "--propagation unchanged " if "mount" in step.namespaces else ""
    return [f"into+=(unshare {_words(*names)} {kept}--fork --kill-child --)"]


def _set_clocks(step: s.SetClocks) -> list[str]:
    shifts = (f"--{clock} {seconds}" for clock, seconds, _ in step.offsets)
    return [f"into+=({' '.join(shifts)}) # whole seconds are all that unshare(1) takes"]


def _set_namespace(step: s.SetNamespace) -> list[str]:
    if step.path == OWN_TIME:
        return ["into+=(--) # the next exec is in it: Linux 6.2"]
    return [f"into+=(nsenter --{step.namespace}={quote(step.path)} --)"]


def _join_process(step: s.JoinProcess) -> list[str]:
    names = [f"--{name}" for name in _UNSHARE if name in step.namespaces]
    return [f"into+=(nsenter --target {step.pid} {_words(*names)} --)"]


def _birth(step: s.Birth) -> list[str]:
    if step.namespaces:
        return _unshare(s.Unshare(namespaces=step.namespaces))
    return ["# nsenter(1) forks by itself where it joins a pid namespace."]


def _map_ids(step: s.MapIds) -> list[str]:
    """A process that stays outside writes the maps, for in there nobody may: user_namespaces(7)."""
    maps = [
        f'printf {quote(_ranges(ranges))} >"/proc/$pid/{kind}_map"'
        for kind, ranges in (("uid", step.uids), ("gid", step.gids))
        if ranges
    ]
    return [
        "coproc maps {",
        "  read -r pid",
        '  ((EUID == 0)) || echo deny >"/proc/$pid/setgroups"',
        *(f"  {line}" for line in maps),
        "  echo done",
        "}",
        'exec 4<&"${maps[0]}" 5>&"${maps[1]}"',
        'into=(env NEWROOT_MAPS=1 "${into[@]}")',
        'into+=(bash -c \'read -r pid _ </proc/self/stat; echo "$pid" >&5; read -r <&4;'
        ' exec 4<&- 5>&- "$@"\' bash)',
    ]


def _ranges(ranges: Iterable[tuple[int, int, int]]) -> str:
    return "".join(f"{inside} {outside} {size}\\n" for inside, outside, size in ranges)


def _join_cgroup(step: s.JoinCgroup) -> list[str]:
    return [f'into+=(sh -c \'echo 0 >"$0" && exec "$@"\' {quote(step.procs)})']


# ---- the root ----


def _at(target: str) -> str:
    return f"at {quote(target)}"


def _place(step: Any) -> tuple[list[str], str]:
    """What finds a step's target, and the word for it."""
    if step.on_host:
        return [], quote(step.target)
    return [_at(step.target)], '"$target"'


def _hold_tree(step: s.HoldTree) -> list[str]:
    return [
        "# No tool holds a tree that is mounted nowhere, as open_tree(2) does: here mounts of the",
        "# host are seen inside, and none of the inside outside.",
    ]


def _set_propagation(step: s.SetPropagation) -> list[str]:
    found, target = _place(step)
    return [*found, f"mount --make-{step.propagation} -- {target}"]


def _make_dir(step: s.MakeDir) -> list[str]:
    found, target = _place(step)
    how = "-p" if step.make_target else f"-m {step.mode:o}"
    return [*found, f"mkdir {how} -- {target}"]


def _write_file(step: s.WriteFile) -> list[str]:
    target = quote(step.target)
    if b"\0" in step.data:  # no word of bash can hold it
        octal = "".join(f"\\0{byte:03o}" for byte in step.data)
        return [f"printf %b '{octal}' >{target}", f"chmod {step.mode:o} -- {target}"]
    return [f"printf %s {quote(step.data)} >{target}", f"chmod {step.mode:o} -- {target}"]


def _mount_fs(step: s.MountFs) -> list[str]:
    found, target = _place(step)
    made = [f"mkdir -p -- {target}"] if step.make_target else []
    options = quote(",".join(step.flags + step.options))
    if step.like_target:
        made.insert(0, f"mode=1777; [ ! -d {target} ] || mode=$(stat -c %a -- {target})")
        options = quote(",".join(step.flags + step.options[:-1] + ("mode=",))) + '"$mode"'
    given = f" -o {options}" if step.flags or step.options else ""
    if step.copy_up:
        return [*found, *made, *_copied_up(step, options, target)]
    return [*found, *made, f"mount -t {quote(step.type)}{given} -- {quote(step.source)} {target}"]


def _copied_up(step: s.MountFs, options: str, target: str) -> list[str]:
    """Mounted aside, filled, and only then moved to its place and made read-only."""
    made = f"mount -t {quote(step.type)} -o {options},rw -- {quote(step.source)}"
    lines = ["aside=$(mktemp -d)", f'{made} "$aside"', f'cp -a -- {target}/. "$aside"']
    lines.append(f'mount --move -- "$aside" {target} && rmdir -- "$aside"')
    if "ro" in step.flags:
        lines.append(f"mount -o remount,bind,ro -- {target}")
    return lines


def _mount_overlay(step: s.MountOverlay) -> list[str]:
    lower = "lowerdir=" + ":".join(map(escape_layer, step.lower))
    upper = [] if step.upper is None else [f"upperdir={step.upper}", f"workdir={step.work}"]
    options = ",".join([lower, *upper, *step.options, *step.flags])
    paths = [*step.lower, step.upper or "", step.work or ""]
    plain = all(_IN_OPTIONS.issuperset(path) for path in paths)
    if not plain or len(options) >= _PAGE:
        return _linked_overlay(step)
    return [f"mount -t overlay -o {quote(options)} -- overlay {quote(step.target)}"]


def _linked_overlay(step: s.MountOverlay) -> list[str]:
    """By links with short names: for paths that mount(8) would misread, or too many of them."""
    links = [(str(n), path) for n, path in enumerate(step.lower)]
    options = ["lowerdir=" + ":".join(name for name, _ in links)]
    if step.upper is not None and step.work is not None:
        links += [("upper", step.upper), ("work", step.work)]
        options += ["upperdir=upper", "workdir=work"]
    words = quote(",".join([*options, *step.options, *step.flags]))
    target = quote(step.target)
    return [
        f"links={quote(step.target.rpartition('/')[0])}/layers",
        'mkdir -- "$links"',
        "# Links, for mount(2) takes one page of options, and in them a comma ends one.",
        *(f'ln -s -- {quote(path)} "$links"/{name}' for name, path in links),
        f'(cd "$links" && mount -t overlay -o {words} -- overlay {target})',
    ]


def _bind_mount(step: s.BindMount) -> list[str]:
    found, target = _place(step)
    source = quote(step.source)
    made = [f"make_as {source}"] if step.make_target and not step.on_host else []
    how = "--rbind" if step.recursive else "--bind"
    if step.idmap is not None:
        how += f" -o X-mount.idmap={quote(step.idmap)}"  # mount(8) of util-linux 2.39
    flags, below = ",".join(step.flags), ",".join(step.recursive_flags)
    return [
        *found,
        *made,
        f"mount {how} -- {source} {target}",
        *([f"mount -o {quote('remount,bind,' + flags)} -- {target}"] if flags else []),
        *([f"mount --make-{step.propagation} -- {target}"] if step.propagation else []),
        *([f"remount_all {quote(below)} {target}"] if below else []),
    ]


def _set_attr(step: s.SetAttr) -> list[str]:
    found, target = _place(step)
    flags = ",".join(step.flags)
    if step.recursive:
        return [*found, f"remount_all {quote(flags)} {target}"]
    return [*found, f"mount -o {quote('remount,bind,' + flags)} -- {target}"]


def _in_parent(target: str) -> tuple[str, str]:
    parent, _, name = target.rpartition("/")
    return _at(parent or "/"), f'"$target"/{quote(name)}'


def _unless_there(target: str, if_missing: bool) -> str:
    return f"[ -e {target} ] || [ -L {target} ] || " if if_missing else ""


def _make_node(step: s.MakeNode) -> list[str]:
    found, target = _in_parent(step.target)
    kind = "c" if step.kind == "u" else step.kind
    numbers = "" if kind == "p" else f" {step.major} {step.minor}"
    make = f"mknod -m {step.mode:o} -- {target} {kind}{numbers}"
    own = f"chown -h {step.uid}:{step.gid} -- {target}" if step.uid or step.gid else ""
    unless = _unless_there(target, step.if_missing)
    if step.same_node and kind != "p":
        kinds = {"c": "character special file", "b": "block special file"}
        same = f"{kinds[kind]} {step.major:x}:{step.minor:x}"
        unless = f'[ "$(stat -c "%F %t:%T" -- {target} 2>&-)" = "{same}" ] || '
    return [found, unless + (f"{{ {make} && {own}; }}" if own else make)]


def _make_symlink(step: s.MakeSymlink) -> list[str]:
    found, target = _in_parent(step.target)
    unless = _unless_there(target, step.if_missing)
    return [found, f"{unless}ln -sT -- {quote(step.to)} {target}"]


def _mask(step: s.Mask) -> list[str]:
    return [
        _at(step.target),
        'if [ -d "$target" ]; then mount -t tmpfs -o ro,nr_inodes=1 -- tmpfs "$target"',
        'elif [ -e "$target" ]; then mount --bind -- /dev/null "$target" &&',
        '  mount -o remount,bind,ro -- "$target"; fi',
    ]


def _make_readonly(step: s.MakeReadonly) -> list[str]:
    bind = 'mount --rbind -- "$target" "$target"'
    return [
        _at(step.target),
        f'if [ -e "$target" ]; then {bind} && remount_all ro "$target"; fi',
    ]


def _open_terminal(step: s.OpenTerminal) -> list[str]:
    return [
        "# No tool does it: newroot opens /dev/pts/ptmx of the new devpts, shows the other end as",
        "# /dev/console and gives it to the command; here the command keeps your own terminal.",
    ]


def _set_sysctl(step: s.SetSysctl) -> list[str]:
    # Through the host's /proc, which shows the values of the reader's own namespaces.
    return [f"printf %s {quote(step.value)} >{quote('/proc/' + sysctl_path(step.name))}"]


def _set_hostname(step: s.SetHostname) -> list[str]:
    return [f"printf %s {quote(step.hostname)} >/proc/sys/kernel/hostname"]


def _set_domainname(step: s.SetDomainname) -> list[str]:
    return [f"printf %s {quote(step.domainname)} >/proc/sys/kernel/domainname"]


def _link_up(step: s.LinkUp) -> list[str]:
    return [f"ip link set dev {quote(step.interface)} up"]


# ---- the switch ----


def _pivot_root(step: s.PivotRoot) -> list[str]:
    return [
        _KEEP_TOOLS.rstrip(),
        "# Only a process that stands exactly at the old root is taken along: pivot_root(2).",
        "# The second cd is for bash, whose exec makes a path absolute by where it thinks it is.",
        'cd -- "$tools"',
        "cd -L /proc/self/cwd",
        'pivot_root "$root" "$root"',
    ]


def _move_root(step: s.MoveRoot) -> list[str]:
    return [
        _KEEP_TOOLS.rstrip(),
        'last=(nsenter --wd="$tools" --root=. --)',
        'cd -- "$root"',
        "mount --no-canonicalize --move -- . /",
    ]


def _chroot(step: s.Chroot) -> list[str]:
    return [
        _KEEP_TOOLS.rstrip(),
        "# chroot(1) would go to its / and lose the tools; nsenter(1) sets the two apart.",
        'last=(nsenter --root="$root" --wd="$tools" --)',
    ]


def _detach_old_root(step: s.DetachOldRoot) -> list[str]:
    return [
        "# The old root is mounted on top of the new one, and .. of / leads to what is on top.",
        '"${tool[@]}" "$bin"umount --lazy --no-canonicalize --no-mtab /..',
    ]


# ---- identity ----

_LIMITS = (  # RLIMIT_* in the kernel's order: asm-generic/resource.h
    *("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as"),
    *("locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"),
)


def _set_oom_score(step: s.SetOomScore) -> list[str]:
    return [f"echo {step.score} >/proc/self/oom_score_adj"]


def _set_scheduler(step: s.SetScheduler) -> list[str]:
    policies = ("--other", "--fifo", "--rr", "--batch", "", "--idle", "--deadline")
    words = [policies[step.policy]]
    if step.policy == 6:
        times = zip(("runtime", "deadline", "period"), _times(step), strict=True)
        words += [f"--sched-{name} {value}" for name, value in times]
    lines = [f"chrt {' '.join(words)} --pid {step.priority} $$"]
    return [*lines, *([f"renice -n {step.nice} -p $$ >/dev/null"] if step.nice else [])]


def _times(step: s.SetScheduler) -> tuple[int, ...]:
    return (step.runtime_ns, step.deadline_ns, step.period_ns)


def _set_affinity(step: s.SetAffinity) -> list[str]:
    cpus = ",".join(map(str, step.cpus))
    return [f"into+=(taskset --cpu-list {cpus})"]


def _set_io_priority(step: s.SetIoPriority) -> list[str]:
    return [f"ionice -c {step.scheduling_class} -n {step.priority} -p $$"]


def _set_memory_policy(step: s.SetMemoryPolicy) -> list[str]:
    return ["# No tool of util-linux does it; numactl(8) would."]


def _set_personality(step: s.SetPersonality) -> list[str]:
    if not step.personality:
        return ["# It is that already."]
    return ['last+=("${tool[@]}" "$bin"setarch linux32 --)']


def _set_label(step: s.SetLabel) -> list[str]:
    path = "apparmor/exec" if step.module == "apparmor" else "exec"
    word = f"exec {step.label}" if step.module == "apparmor" else step.label
    return [
        "# Not here: the label would be had by the next tool already, and not by the command.",
        f"# printf %s {quote(word)} >/proc/self/attr/{path}",
    ]


def _run_hook(step: s.RunHook) -> list[str]:
    environment = " ".join(map(quote, step.env))
    where = 'cd -- "$root" && ' if step.on_host else ""
    words = _words(*(step.argv or (step.path,))[1:])
    return [
        "# With the container's state on its standard input, which only newroot can tell.",
        f"# ({where}exec env -i {environment} {quote(step.path)} {words})",
    ]


def _set_rlimit(step: s.SetRlimit) -> list[str]:
    soft, hard = (_limit(value) for value in (step.soft, step.hard))
    words = f"--{_LIMITS[step.resource]}={soft}:{hard}"
    return [f'last+=("${{tool[@]}}" "$bin"prlimit {words} --)']


def _limit(value: int) -> str:
    return "unlimited" if value < 0 or value >= 2**64 - 1 else str(value)


def _caps(mask: int) -> str:
    names = (name.removeprefix("CAP_").lower() for name in capabilities.names(mask))
    return "'" + ",".join(["-all", *(f"+{name}" for name in names)]) + "'"


def _set_bounding(step: s.SetBounding) -> list[str]:
    return [f"privileges+=(--bounding-set {_caps(step.keep)})"]


def _set_user(step: s.SetUser) -> list[str]:
    groups = f"--groups {','.join(map(str, step.groups))}" if step.groups else "--clear-groups"
    if step.keep_groups:
        groups = "--keep-groups"
    return [
        f"umask {step.umask:04o}",
        f"privileges+=(--reuid {step.uid} --regid {step.gid} {groups})",
    ]


def _set_capabilities(step: s.SetCapabilities) -> list[str]:
    """What is effective and permitted exec computes anew from the others: capabilities(7)."""
    if step.ambient is None:
        return []  # what only the filter needed goes: here there is none
    inheritable, ambient = _caps(step.inheritable), _caps(step.ambient)
    return [f"privileges+=(--inh-caps {inheritable} --ambient-caps {ambient})"]


def _load_seccomp(step: s.LoadSeccomp) -> list[str]:
    return ["# No tool of util-linux 2.38 loads one: here the command may make every system call."]


def _reap(step: s.Reap) -> list[str]:
    return ["# No tool does it: here the command is pid 1 itself, and gets no signal it ignores."]


def _exec(step: s.Exec) -> list[str]:
    start = 'exec "${last[@]}" "${tool[@]}" "$bin"setpriv "${privileges[@]}" --'
    environment = '"${tool[@]}" "$bin"env -i -C "$cwd"'
    return [
        f"{start} \\",
        f"  {environment} \\",
        *(f"  {quote(word)} \\" for word in step.env),
        f"  {_words(*_command(step))}",
    ]


def _command(step: s.Exec) -> tuple[str, ...]:
    """argv; its first word becomes the path where a search of PATH would not find the same."""
    name = step.argv[0] if step.argv else ""
    found = any(path == name or path.endswith("/" + name) for path in step.paths)
    return step.argv if found else (*step.paths[:1], *step.argv[1:])


def _none(step: s.Step) -> list[str]:
    return []


if TYPE_CHECKING:
    Renderer = Callable[[Any], list[str]]

#: Done by starting the shell in a certain way; only as a plan's first steps.
_OUTSIDE: dict[type[s.Step], Renderer] = {
    s.Unshare: _unshare,
    s.SetNamespace: _set_namespace,
    s.JoinProcess: _join_process,
    s.Birth: _birth,
    s.MapIds: _map_ids,
    s.NewSession: lambda step: ["into+=(setsid --)"],
    s.JoinCgroup: _join_cgroup,
    s.SetClocks: _set_clocks,
    s.SetAffinity: _set_affinity,
}

_INSIDE_STEPS: dict[type[s.Step], Renderer] = {
    s.Wait: lambda step: ["# Nobody is asked here."],
    s.MoveInterfaces: lambda step: ["# Nobody is asked here: ip link set DEVICE netns PID"],
    s.RunHook: _run_hook,
    s.SetScheduler: _set_scheduler,
    s.SetIoPriority: _set_io_priority,
    s.SetMemoryPolicy: _set_memory_policy,
    s.SetPersonality: _set_personality,
    s.SetLabel: _set_label,
    s.AwaitStart: lambda step: ["# It is started already."],
    s.DieWithParent: lambda step: ["privileges+=(--pdeathsig KILL)"],
    s.HoldTree: _hold_tree,
    s.SetPropagation: _set_propagation,
    s.MakeDir: _make_dir,
    s.WriteFile: _write_file,
    s.MountFs: _mount_fs,
    s.MountOverlay: _mount_overlay,
    s.BindMount: _bind_mount,
    s.UseRoot: lambda step: [f"root={quote(step.path)}"],
    s.SetAttr: _set_attr,
    s.MakeNode: _make_node,
    s.MakeSymlink: _make_symlink,
    s.Mask: _mask,
    s.MakeReadonly: _make_readonly,
    s.OpenTerminal: _open_terminal,
    s.SetSysctl: _set_sysctl,
    s.SetHostname: _set_hostname,
    s.SetDomainname: _set_domainname,
    s.LinkUp: _link_up,
    s.PivotRoot: _pivot_root,
    s.MoveRoot: _move_root,
    s.Chroot: _chroot,
    s.DetachOldRoot: _detach_old_root,
    s.SetOomScore: _set_oom_score,
    s.SetRlimit: _set_rlimit,
    s.SetBounding: _set_bounding,
    s.SetUser: _set_user,
    s.SetCapabilities: _set_capabilities,
    s.SetNoNewPrivs: lambda step: ["privileges+=(--no-new-privs)"],
    s.LoadSeccomp: _load_seccomp,
    s.NewKeyring: lambda step: ["# No tool of util-linux does it; keyctl(1) would."],
    s.SetCwd: lambda step: [f"cwd={quote(step.path)}"],
    s.Reap: _reap,
    s.Exec: _exec,
}


def _lines(step: s.Step, outside: bool) -> list[str]:
    if outside:
        return _OUTSIDE[type(step)](step)
    if type(step) in _OUTSIDE:
        return ["# A shell can do this only before it does anything else: left out."]
    return _INSIDE_STEPS[type(step)](step)
