"""Hooks by newroot-oci and by runc: when, in which order, where, and with what on stdin.

A hook is ``view hook:FILE NAME``; the file is in the bundle's root, where the container's own hooks
find it too.  What a hook saw is its line there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from differential.bundles import BASE, Config
from differential.views import Host, Kit, Runtime, bundle_of

from newroot.testing.needs import needs

pytestmark = [
    needs("root", "gcc", "runc"),
    pytest.mark.timeout(60),
]

POINTS = (
    *("prestart", "createRuntime", "createContainer"),
    *("startContainer", "poststart", "poststop"),
)
LOG = "@BUNDLE@/rootfs/log"

Hook = dict[str, Any]


def hook(point: str, name: str | None = None, *ends: str, **more: Any) -> Hook:
    """A hook that writes a line, for *point*: the container's own are called by other paths."""
    inside = point == "startContainer"
    path, log = ("/view", "/log") if inside else ("@BUNDLE@/rootfs/view", LOG)
    return {"path": path, "args": ["hook", f"hook:{log}", name or point, *ends], **more}


def config_with(**hooks: list[Hook]) -> Config:
    """The base with *hooks*, whose process writes a line as well."""
    config = copy.deepcopy(BASE)
    config["process"]["args"] = ["/view", "hook:/log", "process"]
    config["hooks"] = hooks
    config["annotations"] = {"org.example.key": "value"}
    return config


@pytest.fixture
def seen(kit: Kit, host: Host) -> Callable[[Runtime, Config], tuple[int, list[Any], str]]:
    """Run a config by a runtime: its exit code, the lines that were written, and its words."""

    def seen(runtime: Runtime, config: Config) -> tuple[int, list[Any], str]:
        with bundle_of(kit, runtime, config) as bundle:
            done = runtime(host, bundle / "state", "run", "--bundle", str(bundle), "case")
            log = bundle / "rootfs/log"
            text = log.read_text() if log.exists() else ""
            text = text.replace(str(bundle), "BUNDLE")
            lines = [normal(json.loads(line), host) for line in text.splitlines()]
            return done.returncode, lines, done.stderr.decode()

    return seen


def normal(line: dict[str, Any], host: Host) -> dict[str, Any]:
    """A hook's line without numbers."""
    for kind, link in line["namespaces"].items():
        if link is not None:
            line["namespaces"][kind] = "host" if link == host.namespace(kind) else "other"
    if line["hook"] == "process":
        return {"hook": "process"}
    state = json.loads(line["state"])
    state.pop("ociVersion")  # each runtime's own
    if state.get("pid"):
        state["pid"] = "a pid"
    line["state"] = state
    return line


def as_specified(lines: dict[str, Any]) -> dict[str, Any]:
    """What runc 1.1 tells its poststart hooks is that nothing runs yet, which is so: it has not
    started the process.  The specification has them after it (runtime.md, Lifecycle); runc 1.5 too.
    """
    for line in lines.values():
        if line["hook"] != "process" and "poststart" in line["hook"]:
            line["state"]["status"] = "running"
    return lines


Seen = Callable[[Runtime, Config], tuple[int, list[Any], str]]

ALL = {point: [hook(point, env=["A=1"])] for point in POINTS}


def by_name(lines: list[Any]) -> dict[str, Any]:
    """The lines without their order: runc 1.1's poststart runs beside its startContainer."""
    assert len({line["hook"] for line in lines}) == len(lines)
    return {line["hook"]: line for line in lines}


def names(lines: list[Any]) -> list[str]:
    """What was run, in order; the process itself runs beside the hooks after it."""
    return [line["hook"] for line in lines if line["hook"] != "process"]


def test_the_six_points_in_their_order_with_what_they_are_told(
    seen: Seen, newroot_oci: Runtime, runc: Runtime
) -> None:
    ours, theirs = seen(newroot_oci, config_with(**ALL)), seen(runc, config_with(**ALL))

    assert by_name(ours[1]) == as_specified(by_name(theirs[1])), ours[2]
    assert (names(ours[1]), ours[0]) == (list(POINTS), theirs[0])
    assert ours[1].index({"hook": "process"}) > 3


def test_several_at_each_point_run_in_the_order_of_the_list(
    seen: Seen, newroot_oci: Runtime, runc: Runtime
) -> None:
    twice = {point: [hook(point, f"{point} {n}", env=[]) for n in (1, 2)] for point in POINTS}
    ours, theirs = seen(newroot_oci, config_with(**twice)), seen(runc, config_with(**twice))

    assert names(ours[1]) == [f"{point} {n}" for point in POINTS for n in (1, 2)], ours[2]
    assert sorted(names(ours[1])) == sorted(names(theirs[1]))


@pytest.mark.parametrize("point", POINTS)
def test_arguments_and_environment_are_the_hook_s_own(
    seen: Seen, newroot_oci: Runtime, runc: Runtime, point: str
) -> None:
    name = f"a {point}"
    config = config_with(**{point: [hook(point, name, env=["A=1", "B=x y"])]})
    ours, theirs = seen(newroot_oci, config), seen(runc, config)

    assert by_name(theirs[1])[name]["env"] == ["A=1", "B=x y"]
    assert by_name(ours[1]) == as_specified(by_name(theirs[1])), ours[2]
    assert ours[0] == theirs[0]


@pytest.mark.parametrize("point", POINTS)
def test_a_hook_that_fails(seen: Seen, newroot_oci: Runtime, runc: Runtime, point: str) -> None:
    hooks = {**ALL, point: [hook(point, None, "exit:3"), hook(point, "the next one")]}
    ours, theirs = seen(newroot_oci, config_with(**hooks)), seen(runc, config_with(**hooks))

    # The specification's Lifecycle: a failure ends the container, whose poststop hooks are run;
    # one of theirs ends nothing.  runc 1.1 ends poststop's, and runs poststart's first.
    before = POINTS[: POINTS.index(point) + 1]
    wanted = [*before, "the next one"] if point == "poststop" else [*before, "poststop"]
    assert names(ours[1]) == wanted, ours[2]
    if point in ("prestart", "createRuntime", "createContainer"):
        assert names(ours[1]) == names(theirs[1])
    assert (ours[0] == 0) == (theirs[0] == 0)


@pytest.mark.parametrize("point", POINTS)
def test_a_hook_that_takes_too_long(
    seen: Seen, newroot_oci: Runtime, runc: Runtime, point: str
) -> None:
    hooks = {point: [hook(point, None, "wait:", timeout=1)]}
    ours, theirs = seen(newroot_oci, config_with(**hooks)), seen(runc, config_with(**hooks))

    assert names(ours[1]) == names(theirs[1]), ours[2]
    assert (ours[0] == 0) == (theirs[0] == 0)


@pytest.mark.parametrize("path", ["/no/such/hook", "relative", "", "/etc"])
def test_a_hook_that_cannot_be_started(
    seen: Seen, newroot_oci: Runtime, runc: Runtime, path: str
) -> None:
    config = config_with(createRuntime=[{"path": path}])
    ours, theirs = seen(newroot_oci, config), seen(runc, config)

    assert theirs[0] != 0
    assert ours[0] != 0
    assert ours[1] == []
