"""What a process sees, from inside: the same plan by newroot-init and by its script, compared.

``by_newroot`` and ``by_shell`` carry a plan out, whose command is ``PROBE``; ``View`` is what it
printed, without what must differ between two containers (numbers of mounts and devices).
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from newroot.linux.mountinfo import Mount, parse_mountinfo
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.plan.launcher import Launcher
from newroot.plan.report import step_error
from newroot.plan.shell import render
from newroot.record import record

#: Run by busybox; a line of # begins a section.
PROBE = (
    r"""
echo '#mountinfo'; cat /proc/self/mountinfo
echo '#names'; hostname; cat /proc/sys/kernel/domainname
echo '#user'; id -u; id -g; id -G; umask
echo '#status'; grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Sig(Blk|Ign|Cgt))' /proc/self/status
echo '#limits'; cat /proc/self/limits
echo '#oom'; cat /proc/self/oom_score_adj
echo '#env'; env
echo '#cwd'; pwd
echo '#fds'; ls /proc/$$/fd; ls /proc/1/fd 2>&1
echo '#session'; awk '{print $1 == 1, $5 == $1, $6 == $1, $7}' /proc/$$/stat
echo '#dev'; find /dev ! -path '/dev/pts/*' ! -path '/dev/mqueue/*' ! -path '/dev/shm/*' \
  -exec stat -c '%N %F %a %u %g %t:%T' {} + | sort
echo '#links'; find /dev -type l -exec ls -l {} + | sed 's/.* \/dev/\/dev/' | sort
echo '#root'; ls -a / | sort
echo '#net'; ip addr 2>&1 | grep -E 'lo:|inet'
echo '#cgroup'; cat /proc/self/cgroup
echo '#sysctl'; for n in net/ipv4/ip_default_ttl kernel/shmmni kernel/msgmax fs/mqueue/msg_max
do cat /proc/sys/$n; done
"""
    + "echo '#end'\n"
)

COMMAND = ("sh", "-c", PROBE)


@record
class View:
    """What the probe saw, by section."""

    mounts: tuple[str, ...]
    sections: tuple[tuple[str, str], ...]


def by_newroot(plan: s.Plan) -> View:
    """Carry *plan* out by newroot-init."""
    launcher = Launcher()
    read, write = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        first = plan.steps[0]
        flags = encode.clone_flags(getattr(first, "namespaces", ()))
        launch = launcher.launch(encode.encode(plan), flags, (null, write, write))
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            output = pipe.read()
        report = launch.next_report()
        launch.close()
    finally:
        os.close(null)
        launcher.close()
    if report is not None:
        raise step_error(plan, report)

    return view_of(output, plan)


def by_shell(plan: s.Plan) -> View:
    """Carry *plan* out by bash and util-linux."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(render(plan))
        script.flush()
        done = subprocess.run(
            ["bash", "-c", f"exec bash <(cat {script.name})"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    assert done.returncode == 0, done.stdout.decode(errors="replace")

    return view_of(done.stdout, plan)


def view_of(output: bytes, plan: s.Plan) -> View:
    """What the probe's *output* says, with nothing in it that two equal containers differ in."""
    text = re.sub(r"(?<=SigIgn:\t)[0-9a-f]+", _without_glibc_s, os.fsdecode(output))
    assert text.rstrip().endswith("#end"), text

    sections = dict(re.findall(r"^#(\w+)\n(.*?)(?=^#\w+\n)", text, re.DOTALL | re.MULTILINE))
    mounts = parse_mountinfo(sections.pop("mountinfo"))
    places = {mount.id: mount.mount_point for mount in mounts}
    overlays = {name: _layers(step) for step in plan.steps for name in _overlay_names(step)}
    return View(
        mounts=tuple(_mount_line(mount, places, overlays) for mount in mounts),
        sections=tuple(sections.items()),
    )


def _without_glibc_s(mask: re.Match[str]) -> str:
    """Signals 32 and 33 are glibc's own: who was started with them ignored cannot change it, so a
    script's command ignores them too; newroot-init, without a libc, can."""
    return f"{int(mask[0], 16) & ~(1 << 31 | 1 << 32):016x}"


def _mount_line(mount: Mount, places: dict[int, str], overlays: dict[str, str]) -> str:
    options = ",".join(mount.super_options)
    if mount.fstype == "overlay":
        options = _overlay_options(options, overlays)
    return (
        f"{mount.mount_point!r} in {places.get(mount.parent, '')!r}: {mount.root!r} of"
        f" {mount.fstype} {mount.source} ({','.join(mount.options)}) {mount.propagation}"
        f" [{options}]"
    )


def _overlay_names(step: s.Step) -> tuple[str, ...]:
    """How mountinfo may tell a step's layers: with lowerdir+, in one word, or by short links."""
    if not isinstance(step, s.MountOverlay):
        return ()
    words = [[*step.lower], [encode.escape_layer(path) for path in step.lower]]
    return (
        ",".join(f"lowerdir+={path}" for path in step.lower),
        *("lowerdir=" + ":".join(paths) for paths in words),
        "lowerdir=" + ":".join(map(str, range(len(step.lower)))),
    )


def _layers(step: s.Step) -> str:
    assert isinstance(step, s.MountOverlay)

    return f"layers {step.lower} upper {step.upper} work {step.work}"


def _overlay_options(options: str, overlays: dict[str, str]) -> str:
    """The layers as the plan means them; names of the upper and work directories follow them."""
    for name, layers in overlays.items():
        if name + "," in options:
            rest = options.replace(name + ",", "", 1)
            rest = re.sub(r"(upper|work)dir=.*?(?=,\w+dir=|,\w+=|,\w+$|$)", r"\1", rest)
            return f"{layers}: {rest}"
    return f"unknown layers: {options}"


def differences(plan: s.Plan, between: Callable[[], object] = lambda: None) -> list[str]:
    """What newroot-init and the script do not do alike; *between* cleans up what they share."""
    ours = by_newroot(plan)
    between()
    theirs = by_shell(plan)
    found = [f"newroot only: {line}" for line in ours.mounts if line not in theirs.mounts]
    found += [f"shell only: {line}" for line in theirs.mounts if line not in ours.mounts]
    if not found and ours.mounts != theirs.mounts:
        found.append("the mounts have another order")
    for (name, mine), (_, other) in zip(ours.sections, theirs.sections, strict=True):
        lines = difflib.unified_diff(mine.split("\n"), other.split("\n"), n=0, lineterm="")
        found += [f"{name}: {line}" for line in lines if line[:2] not in ("--", "++", "@@")]
    return found


def make_layers(top: Path, lowest: Path, count: int) -> tuple[str, ...]:
    """*lowest* and directories over it, topmost first, with long names as a store has them."""
    layers = []
    for number in range(count - 1):
        layer = top / "layers" / f"{number:064x}"
        layer.mkdir(parents=True)
        (layer / f"layer-{number}").touch()
        layers.append(str(layer))
    return (*reversed(layers), str(lowest))
