"""Docker's -v, --mount and --tmpfs: what is read, what is refused, and that quoting is whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.container.mount_options import normalise, parse_mount, parse_tmpfs, parse_volume
from newroot.container.settings import Mount
from newroot.errors import UsageError

# Any path the kernel takes, one component or more, without dots that would be resolved.
_part = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1
).filter(lambda part: part not in (".", ".."))
paths = st.lists(_part, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


# --- -v ------------------------------------------------------------------------------------------


def test_a_target_alone_is_an_anonymous_volume() -> None:
    assert parse_volume("/data") == Mount(type="volume", target="/data")


def test_a_name_is_a_volume_and_a_path_is_a_bind_that_is_made() -> None:
    assert parse_volume("data:/d") == Mount(type="volume", source="data", target="/d")
    assert parse_volume("/src:/d") == Mount(
        type="bind", source="/src", target="/d", create_source=True
    )


@pytest.mark.parametrize(
    ("source", "expected"), [(".", "/home/me"), ("./x", "/home/me/x"), ("../x", "/home/x")]
)
def test_a_source_that_begins_with_a_dot_is_taken_from_the_current_directory(
    source: str, expected: str
) -> None:
    assert parse_volume(f"{source}:/d", cwd="/home/me").source == expected


def test_a_relative_source_is_taken_for_a_volume_and_the_hint_says_what_to_write() -> None:
    with pytest.raises(UsageError) as caught:
        parse_volume("src/x:/d")

    assert "absolute path" in (caught.value.hint or "")


def test_readonly_binds_are_recursively_so_as_docker_has_it_since_25() -> None:
    mount = parse_volume("/src:/d:ro,rslave")

    assert (mount.readonly, mount.recursive_readonly) == (True, True)
    assert mount.propagation == "rslave"


def test_options_of_v() -> None:
    assert parse_volume("v1:/d:ro,nocopy") == Mount(
        type="volume", source="v1", target="/d", readonly=True, copy_up=False
    )
    assert parse_volume("/s:/d:nosuid,z,cached").options == ("nosuid",)
    assert parse_volume("/s:/d:O") == Mount(type="overlay", source="/s", target="/d")


@pytest.mark.parametrize(
    "spec",
    [
        *("", ":", ":/d", "/s:", "/s:/d:", "/s:/d:ro:x", "/d:ro", "/d:rslave,ro", "/s:d", "/s:/"),
        *("/s:/d:rx", "/s:/d:ro,rw", "/s:/d:ro,ro", "/s:/d:slave,shared", "/s:/d:O,ro", "/s:/d:,"),
        *("v1:/d:rslave", "x:/d", "-v:/d", "v:1:/d", "~/x:/d", "/s\0:/d", "v1:/..", "v*:/d"),
    ],
)
def test_v_refuses(spec: str) -> None:
    with pytest.raises(UsageError):
        parse_volume(spec)


@given(paths, paths)
def test_every_path_can_be_written_in_v_with_its_colons_escaped(source: str, target: str) -> None:
    mount = parse_volume(f"{_escape(source)}:{_escape(target)}:rw")

    assert (mount.source, mount.target) == (source, target)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


@given(paths)
def test_a_lone_backslash_is_itself_as_docker_has_it(path: str) -> None:
    if ":" not in path and "\\\\" not in path and not path.endswith("\\"):
        assert parse_volume(f"{path}:/d").source == path


@given(st.text())
def test_v_gives_a_mount_or_a_usage_error(spec: str) -> None:
    try:
        mount = parse_volume(spec, cwd="/")
    except UsageError:
        return
    assert mount.target.startswith("/")
    assert mount.target != "/"


# --- --mount -------------------------------------------------------------------------------------


@given(paths, paths)
def test_every_path_can_be_written_in_mount_with_csv_quoting(source: str, target: str) -> None:
    fields = (f"source={source}", f"target={target}")
    quoted = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    mount = parse_mount(f"type=bind,{quoted}")

    assert mount == Mount(type="bind", source=source, target=target)


@given(st.text())
def test_mount_gives_a_mount_or_a_usage_error(spec: str) -> None:
    try:
        parse_mount(spec, cwd="/")
    except UsageError:
        pass


@pytest.mark.parametrize(
    "spec",
    [
        "type=bind,src=/s,dst=/d",
        "type=bind,source=/s,target=/d",
        "type=BIND,source=/s,destination=/d/",
        "target=/d,source=/s,type=bind,readonly=false,consistency=cached",
    ],
)
def test_the_keys_of_mount_have_aliases(spec: str) -> None:
    assert parse_mount(spec) == Mount(type="bind", source="/s", target="/d")


def test_mount_without_a_type_is_a_volume() -> None:
    assert parse_mount("src=data,dst=/d,volume-nocopy,ro,volume-subpath=a/b") == Mount(
        type="volume", source="data", target="/d", copy_up=False, readonly=True, subpath="a/b"
    )


def test_mount_never_makes_a_missing_source_unless_told() -> None:
    assert not parse_mount("type=bind,src=/s,dst=/d").create_source
    assert parse_mount("type=bind,src=/s,dst=/d,bind-create-src").create_source


@pytest.mark.parametrize(
    ("more", "recursive", "recursive_readonly"),
    [
        ("readonly", True, True),
        ("readonly,bind-recursive=writable", True, False),
        ("readonly,bind-recursive=disabled", False, False),
        ("readonly,bind-nonrecursive", False, False),
        ("readonly,bind-recursive=readonly,bind-propagation=rprivate", True, True),
        ("bind-recursive=enabled", True, False),
    ],
)
def test_bind_recursive(more: str, recursive: bool, recursive_readonly: bool) -> None:
    mount = parse_mount(f"type=bind,src=/s,dst=/d,{more}")

    assert (mount.recursive, mount.recursive_readonly) == (recursive, recursive_readonly)


def test_a_tmpfs_of_mount_has_docker_s_flags_and_its_own_size() -> None:
    mount = parse_mount("type=tmpfs,dst=/t,tmpfs-size=1MB,tmpfs-mode=0700")

    assert mount.options == ("nosuid", "nodev", "noexec", "size=1048576", "mode=700")


def test_an_overlay_names_its_lowers_topmost_first() -> None:
    mount = parse_mount(
        'type=overlay,src=/top,lowerdir=/mid,lowerdir=/low,dst=/d,upperdir=/u,"workdir=/w,1"'
    )

    assert mount.source == "/top"
    assert mount.options == ("lowerdir=/mid", "lowerdir=/low", "upperdir=/u", "workdir=/w,1")
    assert parse_mount("type=overlay,src=/top,dst=/d").options == ()


@pytest.mark.parametrize(
    "spec",
    [
        *("", "type=bind", "type=bind,src=/s", "type=bind,dst=/d", "type=tmpfs", "type=cow,dst=/d"),
        *("type=bind,src=s,dst=/d", "type=bind,src=/s,dst=d", "type=bind,src=/s,dst=/"),
        *("type=bind, src=/s,dst=/d", "type=bind,src =/s,dst=/d", "type=bind,src=/s,dst=/d,bogus"),
        *("type=bind,src=/s,dst=/d,readonly=no", "type=bind,src=/s,dst=/d,readonly="),
        *("type=bind,src=/s,dst=/d,volume-nocopy", "type=volume,dst=/d,bind-propagation=rslave"),
        *("type=volume,dst=/d,tmpfs-size=1m", "type=tmpfs,dst=/d,src=/s", "type=volume,src,dst=/d"),
        *(
            "type=tmpfs,dst=/d,tmpfs-size=x",
            "type=tmpfs,dst=/d,tmpfs-mode=8",
            "type=volume,dst=/d,ro",
        ),
        *("type=bind,src=/s,dst=/d,bind-propagation=far", "type=volume,src=/s,dst=/d"),
        *(
            "type=bind,src=/s,dst=/d,bind-recursive=readonly",
            "type=bind,src=/s,dst=/d,volume-opt=a",
        ),
        "type=bind,src=/s,dst=/d,bind-recursive=readonly,readonly",
        *("type=volume,src=v1,dst=/d,volume-subpath=../x", "type=volume,dst=/d,volume-subpath=x"),
        *("type=overlay,dst=/d", "type=overlay,src=/s,dst=/d,upperdir=/u"),
        *('type=bind,src=/a"b,dst=/d', '"type=bind', '"type=bind"x,dst=/d'),
    ],
)
def test_mount_refuses(spec: str) -> None:
    with pytest.raises(UsageError):
        parse_mount(spec)


# --- --tmpfs -------------------------------------------------------------------------------------


def test_a_tmpfs_has_docker_s_flags_unless_told_otherwise() -> None:
    assert parse_tmpfs("/t").options == ("nosuid", "nodev", "noexec")
    assert parse_tmpfs("/t:exec,size=64m,mode=1777").options == (
        *("nosuid", "nodev", "exec", "size=64m", "mode=1777"),
    )


def test_of_two_contradicting_options_the_later_stays() -> None:
    mount = parse_tmpfs("/t:ro,size=1m,rw,size=2m,rshared,rslave")

    assert mount.options == ("nosuid", "nodev", "noexec", "size=2m")
    assert (mount.readonly, mount.propagation) == (False, "rslave")
    assert parse_tmpfs("/t:rw,ro").readonly


@pytest.mark.parametrize("spec", ["", "t", "/", "/t:colour=red", "/t:lowerdir=/x", ":size=1m"])
def test_tmpfs_refuses(spec: str) -> None:
    with pytest.raises(UsageError):
        parse_tmpfs(spec)


# --- paths ---------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("/.ab")))
def test_a_normalised_path_stays_as_it_is_and_never_leaves_the_root(text: str) -> None:
    path = normalise("/" + text)

    assert normalise(path) == path
    assert ".." not in path.split("/")
    assert "//" not in path
