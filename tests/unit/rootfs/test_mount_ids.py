"""Which ids a mount is mapped by: its own map, or the container's."""

from __future__ import annotations

from typing import Any

import pytest

from newroot.errors import SpecError
from newroot.plan import steps as s
from newroot.rootfs.mount_ids import mount_maps, wanted
from newroot.rootfs.mount_steps import mount_steps

_MAP = [{"containerID": 0, "hostID": 1000, "size": 10}]
_OTHER = [{"containerID": 0, "hostID": 7, "size": 1}]
_LINUX: dict[str, Any] = {"uidMappings": _MAP, "gidMappings": _MAP}


def _bind(*options: str, **more: Any) -> dict[str, Any]:
    return {"destination": "/d", "source": "/s", "options": ["bind", *options], **more}


def test_idmap_means_the_container_s_map() -> None:
    assert mount_maps(_bind("idmap"), _LINUX, "/m") == (((0, 1000, 10),), ((0, 1000, 10),))


def test_a_mount_s_own_map_goes_before_the_container_s() -> None:
    mount = _bind("ridmap", uidMappings=_OTHER, gidMappings=_OTHER)

    assert mount_maps(mount, _LINUX, "/m") == (((0, 7, 1),), ((0, 7, 1),))


def test_a_map_without_the_option_is_a_map() -> None:
    mount = _bind(uidMappings=_OTHER, gidMappings=_OTHER)

    assert mount_maps(mount, {}, "/m") == (((0, 7, 1),), ((0, 7, 1),))


def test_a_mount_that_does_not_ask_has_none() -> None:
    assert mount_maps(_bind(), _LINUX, "/m") is None
    assert wanted({"mounts": [_bind()], "linux": _LINUX}) == set()


@pytest.mark.parametrize(
    ("mount", "pointer"),
    [
        (_bind("idmap"), "/mounts/0/options"),
        (_bind("ridmap"), "/mounts/0/options"),
        (_bind(uidMappings=_MAP), "/mounts/0/gidMappings"),
        (
            _bind(uidMappings=_MAP, gidMappings=[{"containerID": 0}]),
            "/mounts/0/gidMappings/0/hostID",
        ),
    ],
)
def test_a_wrong_one_is_refused_where_it_stands(mount: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as caught:
        wanted({"mounts": [mount]})

    assert caught.value.pointer == pointer


def test_the_bind_is_mapped_by_the_user_namespace_that_was_made() -> None:
    (bind,) = mount_steps(_bind("ridmap"), "/mounts/0", "/", "/scratch", idmap="/proc/1/fd/2")

    assert isinstance(bind, s.BindMount)
    assert (bind.idmap, bind.recursive_idmap) == ("/proc/1/fd/2", True)
    assert bind.explain() == "bind /s on /d (ridmap)"


@pytest.mark.parametrize(
    "mount", [_bind("idmap"), {**_bind(), "type": "tmpfs", "options": ["idmap"]}]
)
def test_no_mount_is_left_unmapped_in_silence(mount: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"without a map|only a bind"):
        mount_steps(mount, "/mounts/0", "/", "/scratch")
