"""A config.json of any shape is refused in words of ours, or becomes a plan that can be encoded."""

from __future__ import annotations

import copy
import json
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from newroot.container.bundle import seccomp_filter
from newroot.container.compile import Situation, compile
from newroot.container.config import make_config
from newroot.container.devices import Found
from newroot.container.settings import Settings
from newroot.errors import NewrootError
from newroot.isolation.users import User
from newroot.oci.config import read_config
from newroot.plan import encode
from newroot.plan.shell import render
from newroot.rootfs.cgroup_mount import CgroupView
from newroot.rootfs.root import Root
from newroot.testing import needs
from newroot.testing.roots import tiny_root


def _whole() -> dict[str, Any]:
    """A config that has something of everything."""
    config = make_config(
        Settings(command=("sh",)),
        {},
        args=["sh"],
        user=User(),
        hostname="host",
        mounts=[],
        devices=Found(),
    )
    mapping = [{"containerID": 0, "hostID": 1, "size": 2}]
    config["process"].update(
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 9}],
        user={"uid": 1, "gid": 2, "umask": 18, "additionalGids": [1, 2]},
        oomScoreAdj=5,
    )
    config["linux"].update(
        devices=[{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438}],
        sysctl={"net.a": "1"},
        uidMappings=mapping,
        gidMappings=copy.deepcopy(mapping),
        rootfsPropagation="shared",
        cgroupsPath="/a/b",
        seccomp={
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
                }
            ],
        },
    )
    config["linux"]["namespaces"].append({"type": "user"})
    config["mounts"] = [
        config["mounts"][1],
        {"destination": "/b", "type": "bind", "source": "/tmp", "options": ["rbind", "ro"]},
        {"destination": "/o", "type": "overlay", "options": ["lowerdir=/a:/b"]},
    ]
    return config


def _places(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*at, index))


def _changed(config: dict[str, Any], place: tuple[Any, ...], value: object) -> object:
    if not place:
        return value
    config = copy.deepcopy(config)
    inside: Any = config
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return config


_WHOLE = _whole()
_ODD = st.sampled_from(
    [None, True, -1, 2**31, 2**32, 2**64, 10**30, 1.5, "", "x", "/", "..", "\0", "\n", "\ud800"]
    + ["a" * 70000, [], [None], [1], ["x"], [[]], [{}], {}, {"a": 1}, {"\0": "a"}, {"\ud800": "a"}]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.sampled_from([*_places(_WHOLE)]), _ODD), min_size=1, max_size=3)
)
def test_only_our_own_errors_come_of_a_wrong_config(
    tmp_path: Path, changes: list[tuple[tuple[Any, ...], object]]
) -> None:
    config: Any = _WHOLE
    for place, value in changes:
        try:
            config = _changed(config, place, value)
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))

    try:
        checked = read_config(str(path))
        root = Root(directory="/root", scratch="/scratch")
        situation = Situation(cgroups=CgroupView(unified=True), seccomp=seccomp_filter(checked))
        plan = compile(checked, root, situation)
        encode.encode(plan)
        render(plan)
    except NewrootError:
        pass  # in words of ours


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("root",), None, "/root: missing"),
        (("process",), None, "/process: missing"),
        (("linux", "sysctl", "net.a"), None, "/linux/sysctl/net.a: expected a string"),
        (("linux", "uidMappings"), [{}], "/linux/uidMappings/0/containerID: missing"),
        (("linux", "gidMappings", 0, "size"), None, "/linux/gidMappings/0/size: missing"),
        (("hostname",), "\ud800", "/hostname: half a surrogate pair in a string"),
    ],
)
def test_an_error_names_the_place(
    tmp_path: Path, place: tuple[Any, ...], value: object, says: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(_changed(_WHOLE, place, value)))

    with pytest.raises(NewrootError) as error:
        compile(
            read_config(str(path)),
            Root(directory="/root", scratch="/scratch"),
            Situation(cgroups=CgroupView(unified=True)),
        )

    assert str(error.value) == says


# ---- the command itself ----


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    tiny_root(tmp_path / "bundle/rootfs")
    return tmp_path / "bundle"


def _run(tmp_path: Path, bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = Path(sysconfig.get_path("scripts")) / "newroot-oci"
    return subprocess.run(
        [command, "--root", tmp_path / "oci", "run", "--bundle", bundle, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def _left(tmp_path: Path) -> list[str]:
    return [str(p) for p in (tmp_path / "oci").glob("*/*")]


@needs("root")
@pytest.mark.parametrize(
    "text",
    ["", "{", "[", "5", "null", '{"ociVersion": "1', "\ufeff{}", '{"a": NaN}', "[" * 100_000],
)
def test_what_is_no_json_is_said_in_one_line(tmp_path: Path, bundle: Path, text: str) -> None:
    (bundle / "config.json").write_text(text)

    done = _run(tmp_path, bundle, "one")

    first, *hints = done.stderr.splitlines()
    assert (done.returncode, done.stdout, _left(tmp_path)) == (1, "", [])
    assert first.startswith("newroot-oci: ")
    assert "Error" not in first
    assert all(hint.startswith("hint: ") for hint in hints)


@needs("root")
@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", ".", "..", "a\nb", "", "x" * 300])
def test_an_id_is_no_path(tmp_path: Path, bundle: Path, name: str) -> None:
    (bundle / "config.json").write_text(json.dumps(_WHOLE))

    done = _run(tmp_path, bundle, name)

    assert (done.returncode, _left(tmp_path)) == (1, []), "AN ID MADE A FILE SOMEWHERE"
    assert done.stderr.startswith("newroot-oci: invalid container id ")


@needs("root")
def test_no_control_character_of_a_config_reaches_the_terminal(
    tmp_path: Path, bundle: Path
) -> None:
    config = _changed(_WHOLE, ("linux", "namespaces", 0, "type"), "\x1b[31mred\rnothing to see")
    (bundle / "config.json").write_text(json.dumps(config))

    done = _run(tmp_path, bundle, "one")

    assert done.returncode == 1
    assert not {"\x1b", "\r"} & set(done.stderr)


@needs("root")
def test_a_log_that_cannot_be_written_is_one_more_line(tmp_path: Path, bundle: Path) -> None:
    command = Path(sysconfig.get_path("scripts")) / "newroot-oci"
    done = subprocess.run(
        [command, "--root", tmp_path / "oci", "--log", "/none/log", "run", "-b", bundle, "one"],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "write the log /none/log" in done.stderr


def test_a_truncated_document_is_said_to_be_one_without_json_imported() -> None:
    """CPython 3.11's parser fails without an exception when json.decoder is not imported."""
    import sys

    program = (
        "from newroot.oci import json\nfrom newroot.errors import UsageError\n"
        "try: json.loads('{')\nexcept UsageError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "line 1, column 2: expecting property name" in done.stdout
