"""What is made of the kernel's words: pure, without a process or a mount."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.cli.mounts import _stems, all_options, propagation_of, source_of
from newroot.cli.ns import cgroup_words
from newroot.linux.mountinfo import Mount, parse_mount, parse_mountinfo
from newroot.linux.nsfs import parse_link
from newroot.observe.difference import diff
from newroot.observe.engines import container_of_cgroups
from newroot.observe.follow import compare
from newroot.observe.overlay import open_overlay
from newroot.observe.table import hidden_ids, in_order

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net:[4026531833]", ("net", 4026531833)),
        ("socket:[123]", None),
        ("pipe:[1]", None),
        ("net:[x]", None),
        ("net:[1", None),
        ("/run/netns/a", None),
        ("", None),
    ],
)
def test_a_namespace_s_link_is_told_from_other_links(
    text: str, expected: tuple[str, int] | None
) -> None:
    assert parse_link(text) == expected


@pytest.mark.parametrize(
    ("path", "engine"),
    [
        (f"/docker/{ID}", "docker"),
        (f"/system.slice/docker-{ID}.scope", "docker"),
        (f"/libpod_parent/libpod-{ID}", "podman"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman"),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", "containerd"),
        (f"/kubepods/besteffort/pod1/{ID}", "kubernetes"),
        (f"/kubepods.slice/crio-{ID}.scope", "cri-o"),
        ("/lxc.payload.web", "lxc"),
        ("/machine.slice/machine-web.scope/payload", "nspawn"),
    ],
)
def test_a_container_is_known_by_its_cgroup(path: str, engine: str) -> None:
    found = container_of_cgroups(f"3:cpu:/\n0::{path}\n")

    assert found is not None
    assert found.engine == engine
    assert found.id in (ID, "web")


@pytest.mark.parametrize(
    "path",
    ["/", "/user.slice/user-0.slice", f"/libpod-conmon-{ID}.scope", "/docker/short", "/lxcfs/a"],
)
def test_a_cgroup_that_names_no_container_is_nobody_s(path: str) -> None:
    assert container_of_cgroups(f"0::{path}\n") is None


def mount(line: str) -> Mount:
    return parse_mount(line)


def test_an_overlay_s_options_are_its_directories_whatever_they_are_called() -> None:
    # As Linux 6.18 shows them: the first by mount(2), the second by fsconfig(2).
    old = open_overlay(
        mount(
            r"1 0 0:40 / /m rw - overlay o ro,lowerdir=a\134:b:e\134\134f:g\040h:c\054d::data,x=on"
        )
    )
    new = open_overlay(
        mount(
            r"1 0 0:40 / /m rw - overlay o rw,lowerdir+=a:b,lowerdir+=c\054d,lowerdir+=e\134f,"
            r"datadir+=z,upperdir=u:\054x,workdir=w"
        )
    )

    assert old.lower == ("a:b", "e\\f", "g h", "c,d")
    assert old.data_only == ("data",)
    assert (old.upper, old.work) == (None, None)
    assert new.lower == ("a:b", "c,d", "e\\f")
    assert (new.upper, new.work, new.data_only) == ("u:,x", "w", ("z",))


TABLE = """\
1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
2 1 0:2 / /a rw - tmpfs a rw
3 2 0:3 / /a/b rw - tmpfs b rw
4 2 0:4 / /a rw - tmpfs over rw
5 4 0:5 / /a/c rw - tmpfs c rw
6 1 0:6 / /x/y rw - tmpfs below rw
7 1 0:7 / /x rw - tmpfs above rw
8 1 0:8 / /xy rw - tmpfs beside rw
"""


def test_a_mount_on_a_mount_s_root_hides_it_and_what_stood_on_it() -> None:
    ordered = [mount for mount, _ in in_order(parse_mountinfo(TABLE))]

    assert hidden_ids(ordered) == {2, 3, 6}


def test_a_table_is_in_the_order_of_a_tree() -> None:
    ordered = in_order(parse_mountinfo(TABLE))

    assert [(mount.id, depth) for mount, depth in ordered] == [
        (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (6, 1), (7, 1), (8, 1),
    ]  # fmt: skip


def test_mounts_whose_parent_is_out_of_sight_are_tops_and_a_circle_ends() -> None:
    table = parse_mountinfo("5 5 0:5 / / rw - rootfs r rw\n7 99 0:7 / /b rw - tmpfs b rw\n")

    assert [(mount.id, depth) for mount, depth in in_order(table)] == [(5, 0), (7, 0)]


@given(st.lists(st.integers(min_value=0, max_value=6), max_size=40))
def test_the_lines_of_a_tree_join(steps: list[int]) -> None:
    depths: list[int] = []
    for step in steps:
        depths.append(min(step, depths[-1] + 1) if depths else 0)
    stems = [stem for stem, _ in _stems(depths)]

    assert len(stems) == len(depths)
    for number, (stem, depth) in enumerate(zip(stems, depths, strict=True)):
        assert len(stem) == 2 * depth
        later = next((d for d in depths[number + 1 :] if d <= depth), -1)
        assert not depth or stem.endswith("├─" if later == depth else "└─")


def test_two_tables_differ_by_what_is_shown_and_how() -> None:
    a = parse_mountinfo(TABLE)
    b = parse_mountinfo(
        TABLE.replace("2 1 0:2 / /a rw", "2 1 0:2 / /a ro,nosuid").replace("/xy", "/xz")
    )
    found = {(entry.kind, entry.path): entry.fields for entry in diff(a, b)}

    assert found == {
        ("differs", "/a"): ("options",),
        ("a", "/xy"): (),
        ("b", "/xz"): (),
    }
    assert diff(a, a) == ()
    assert len(diff(a, a, same=True)) == len(a)


def test_what_happened_between_two_looks_is_named() -> None:
    before = {m.id: m for m in parse_mountinfo(TABLE)}
    text = TABLE.replace("5 4 0:5 / /a/c rw - tmpfs c rw\n", "9 1 0:9 / /n rw - tmpfs n rw\n")
    text = text.replace("/xy rw", "/moved rw").replace("/x/y rw", "/x/y ro")
    after = {m.id: m for m in parse_mountinfo(text.replace("shared:1", "master:1"))}

    happened = {(event.action, event.mount.id) for event in compare(before, after)}
    assert happened == {
        ("umount", 5), ("mount", 9), ("move", 8), ("remount", 6), ("propagation", 1),
    }  # fmt: skip


def test_a_mount_is_written_as_findmnt_writes_it() -> None:
    found = mount("1 0 8:1 /sub /m rw,nosuid shared:5 master:2 - ext4 /dev/sda1 ro,discard")

    assert source_of(found) == "/dev/sda1[/sub]"
    assert all_options(found) == ("ro", "nosuid", "discard")
    assert propagation_of(found) == "shared:5,slave:2"


def test_cgroups_are_told_once_for_each_path() -> None:
    assert cgroup_words(("2:cpu:/", "0::/")) == "/"
    assert cgroup_words(("3:pids:/a", "2:cpu,cpuacct:/a", "0::/b")) == "pids,cpu,cpuacct:/a /b"


def test_the_package_has_the_room_without_its_being_imported() -> None:
    import newroot

    observe = newroot.observe  # type: ignore[attr-defined]

    assert {found.type for found in observe.namespaces(kept=False)} >= {"mnt", "pid", "user"}
    assert [keeper for n in observe.namespaces(kept=False) for keeper in n.kept_by
            if keeper.kind != "child"] == []  # fmt: skip
