"""A layer's files come out as they went in, in overlay form."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from newroot.images.layers import fill_layer
from newroot.images.prune import disk_size
from newroot.images.staged import make_locked
from newroot.linux.erofs import open_layer
from newroot.testing.needs import needs


class Unpacker:
    """Unpacks archives as layers of one kind, and gives their roots."""

    def __init__(self, directory: Path, *, erofs: bool) -> None:
        self.directory = directory
        self.erofs = erofs
        self.kept: list[Path] = []  # where each layer is
        self.open: list[int] = []

    def __call__(self, data: bytes, **options) -> Path:
        path = self.directory / f"layer{len(self.kept)}"
        stream = io.BytesIO(data)
        if self.erofs:
            path = path.with_suffix(".erofs")
            layer = make_locked(str(path), directory=False)
        else:
            layer = make_locked(str(path), directory=True)
        fill_layer(lambda: stream.read(10_000), layer, what="it", **options)
        layer.close()
        self.kept.append(path)
        if not self.erofs:
            return path
        self.open.append(open_layer(str(path), os.O_RDONLY | os.O_DIRECTORY))
        return Path(f"/proc/self/fd/{self.open[-1]}")

    @property
    def stack(self) -> list[str]:
        return [str(path) for path in reversed(self.kept)]

    def close(self) -> None:
        for fd in self.open:
            os.close(fd)
        self.open.clear()


@pytest.fixture(params=["directories", pytest.param("erofs", marks=needs("root", "erofs"))])
def unpack(request, tmp_path: Path):
    """Unpack an archive as a layer of either kind, give its root."""
    unpacker = Unpacker(tmp_path, erofs=request.param == "erofs")
    yield unpacker
    unpacker.close()


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return "user.overlay.opaque" in os.listxattr(path)


# ── whiteouts ────────────────────────────────────────────────────────────────────────────────


def test_a_whiteout_is_a_device_of_zeros(unpack, archive):
    layer = unpack(archive.of(archive.directory("d"), archive.file("d/.wh.gone", b"")))

    assert ["gone"] == os.listdir(layer / "d")
    assert is_whiteout(layer / "d/gone")


def test_an_opaque_mark_is_an_attribute_of_its_directory(unpack, archive):
    layer = unpack(archive.of(archive.directory("d"), archive.file("d/.wh..wh..opq", b"")))

    assert is_opaque(layer / "d")
    assert [] == os.listdir(layer / "d")


@needs("root")
def test_root_marks_for_both_kinds_of_mount(unpack, archive):
    layer = unpack(archive.of(archive.file("d/.wh..wh..opq", b"")))

    assert b"y" == os.getxattr(layer / "d", "trusted.overlay.opaque")
    assert b"y" == os.getxattr(layer / "d", "user.overlay.opaque")


@pytest.mark.parametrize("first", ["the file", "the whiteout"])
def test_a_whiteout_does_not_remove_what_the_same_layer_added(unpack, archive, first):
    members = [archive.file("f", b"new"), archive.file(".wh.f", b"")]
    layer = unpack(archive.of(*(members if first == "the file" else members[::-1])))

    assert b"new" == (layer / "f").read_bytes()


@pytest.mark.parametrize("first", ["the directory", "the whiteout"])
def test_a_directory_beside_its_whiteout_hides_what_lies_below(unpack, archive, first):
    added = [archive.directory("d"), archive.file("d/new")]
    gone = [archive.file(".wh.d", b"")]
    layer = unpack(archive.of(*(added + gone if first == "the directory" else gone + added)))

    assert is_opaque(layer / "d")
    assert ["new"] == os.listdir(layer / "d")


def test_a_directory_that_a_whiteout_did_not_name_but_a_file_needs_hides_too(unpack, archive):
    layer = unpack(archive.of(archive.file(".wh.d", b""), archive.file("d/new")))

    assert is_opaque(layer / "d")


def test_an_opaque_mark_keeps_what_the_same_layer_added(unpack, archive):
    layer = unpack(archive.of(archive.file("d/new"), archive.file("d/.wh..wh..opq", b"")))

    assert ["new"] == os.listdir(layer / "d")


def test_aufs_leftovers_are_skipped(unpack, archive):
    layer = unpack(
        archive.of(
            archive.directory(".wh..wh.plnk"),
            archive.file(".wh..wh.plnk/1.2"),
            archive.file(".wh..wh.aufs", b""),
            archive.file("x"),
        )
    )

    assert ["x"] == os.listdir(layer)


# ── implied directories ──────────────────────────────────────────────────────────────────────


@needs("root")
def test_a_directory_that_a_layer_does_not_name_is_as_the_layers_below_have_it(unpack, archive):
    unpack(
        archive.of(
            archive.directory("tmp", mode=0o1777, uid=5, mtime=77),
            archive.directory("a/b", mode=0o711),
            archive.directory("./", mode=0o750),
            archive.directory("hidden", mode=0o700),
        )
    )
    unpack(archive.of(archive.file(".wh.hidden", b"")), below=lambda: unpack.stack)
    layer = unpack(
        archive.of(archive.file("tmp/x"), archive.file("a/b/x"), archive.file("hidden/x")),
        below=lambda: unpack.stack,
    )
    tmp = (layer / "tmp").stat()

    assert (0o1777, 5, 77) == (stat.S_IMODE(tmp.st_mode), tmp.st_uid, tmp.st_mtime)
    assert 0o711 == stat.S_IMODE((layer / "a/b").stat().st_mode)
    assert 0o750 == stat.S_IMODE(layer.stat().st_mode)
    assert 0o755 == stat.S_IMODE((layer / "hidden").stat().st_mode), "a whiteout was looked through"


def test_a_link_below_is_not_followed_for_a_directory_s_metadata(unpack, archive, tmp_path):
    (tmp_path / "outside").mkdir(mode=0o711)
    unpack(archive.of(archive.symlink("d", str(tmp_path / "outside"))))
    layer = unpack(archive.of(archive.file("d/x")), below=lambda: unpack.stack)

    assert 0o755 == stat.S_IMODE((layer / "d").stat().st_mode)


# ── kinds of file ────────────────────────────────────────────────────────────────────────────


def test_links_of_both_kinds(unpack, archive):
    layer = unpack(
        archive.of(
            archive.file("f", b"data"),
            archive.hard_link("d/hard", "f"),
            archive.hard_link("d/harder", "/d/hard"),
            archive.symlink("soft", "/etc/anything"),
        )
    )

    assert 3 == (layer / "f").stat().st_nlink
    assert (layer / "d/harder").samefile(layer / "f")
    assert "/etc/anything" == os.readlink(layer / "soft")


@needs("root")
def test_devices_and_fifos(unpack, archive):
    layer = unpack(
        archive.of(
            archive.member("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            archive.member("disk", tarfile.BLKTYPE, devmajor=8, devminor=300, mode=0o640, gid=6),
            archive.member("pipe", tarfile.FIFOTYPE, mode=0o622, uid=7),
        )
    )
    null, disk, pipe = ((layer / name).lstat() for name in ("null", "disk", "pipe"))

    assert (stat.S_IFCHR | 0o666, os.makedev(1, 3)) == (null.st_mode, null.st_rdev)
    assert (stat.S_IFBLK | 0o640, os.makedev(8, 300), 6) == (
        disk.st_mode,
        disk.st_rdev,
        disk.st_gid,
    )
    assert (stat.S_IFIFO | 0o622, 7) == (pipe.st_mode, pipe.st_uid)


def test_a_later_entry_replaces_an_earlier_one(unpack, archive):
    layer = unpack(
        archive.of(
            archive.file("a", b"one"),
            archive.file("a", b"two"),
            archive.symlink("b", "a"),
            archive.file("b", b"file"),
            archive.file("c/x"),
            archive.file("c", b"was a directory"),
            archive.file("d"),
            archive.directory("d", mode=0o711),
        )
    )

    assert b"two" == (layer / "a").read_bytes()
    assert b"file" == (layer / "b").read_bytes()
    assert b"was a directory" == (layer / "c").read_bytes()
    assert 0o711 == stat.S_IMODE((layer / "d").stat().st_mode)


def test_a_repeated_directory_keeps_its_files_and_takes_the_later_mode(unpack, archive):
    layer = unpack(
        archive.of(
            archive.directory("d", mode=0o700),
            archive.file("d/x"),
            archive.directory("d", mode=0o755),
        )
    )

    assert ["x"] == os.listdir(layer / "d")
    assert 0o755 == stat.S_IMODE((layer / "d").stat().st_mode)


def test_replacing_one_name_of_a_file_leaves_the_other_alone(unpack, archive):
    layer = unpack(
        archive.of(
            archive.file("a", b"old"), archive.hard_link("b", "a"), archive.file("a", b"new")
        )
    )

    assert b"old" == (layer / "b").read_bytes()


def test_names_that_are_no_text(unpack):
    info = tarfile.TarInfo("caf\udce9")
    layer = unpack(info.tobuf(tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"))

    assert [b"caf\xe9"] == os.listdir(os.fsencode(layer))


@pytest.mark.parametrize(
    "how",
    [["gnu"], *(["pax", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))],
)
def test_sparse_files_keep_their_holes(unpack, tmp_path, how):
    source = tmp_path / "sparse"
    with open(source, "wb") as file:
        for i in range(1, 60, 2):
            file.seek(i << 20)
            file.write(b"%4d" % i)
        file.truncate(64 << 20)
    done = subprocess.run(
        ["tar", f"--format={how[0]}", *how[1:], "-S", "-C", tmp_path, "-c", "sparse"],
        stdout=subprocess.PIPE,
        check=True,
    )
    layer = unpack(done.stdout)

    assert source.read_bytes() == (layer / "sparse").read_bytes()
    assert disk_size(str(unpack.kept[0])) < 2 << 20


# ── metadata ─────────────────────────────────────────────────────────────────────────────────


@needs("root")
def test_owners_modes_and_times(unpack, archive):
    layer = unpack(
        archive.of(
            archive.directory("d", mode=0o1777, uid=1, gid=2, mtime=1000),
            archive.file("d/f", mode=0o4755, uid=3, gid=4, pax_headers={"mtime": "5.000000007"}),
            archive.directory("./", mode=0o750, uid=8, mtime=9),
        )
    )
    root, d, f = layer.stat(), (layer / "d").stat(), (layer / "d/f").stat()

    assert (0o750, 8, 0, 9) == (stat.S_IMODE(root.st_mode), root.st_uid, root.st_gid, root.st_mtime)
    assert (0o1777, 1, 2, 1000) == (stat.S_IMODE(d.st_mode), d.st_uid, d.st_gid, d.st_mtime)
    assert (0o4755, 3, 4, 5000000007) == (
        stat.S_IMODE(f.st_mode),
        f.st_uid,
        f.st_gid,
        f.st_mtime_ns,
    )


def test_a_directory_may_be_closed_to_its_owner(unpack, archive):
    layer = unpack(
        archive.of(archive.directory("d", mode=0), archive.file("d/x"), archive.directory("d/e"))
    )

    assert 0 == stat.S_IMODE((layer / "d").stat().st_mode)
    if not unpack.erofs:
        os.chmod(layer / "d", 0o700)
    assert ["e", "x"] == sorted(os.listdir(layer / "d"))


def test_a_root_that_the_layer_does_not_name_is_open_to_all(unpack, archive):
    assert 0o755 == stat.S_IMODE(unpack(archive.of(archive.file("x"))).stat().st_mode)


@needs("root")
def test_a_set_group_id_above_hands_nothing_down(unpack, archive, tmp_path):
    os.chown(tmp_path, -1, 1234)
    os.chmod(tmp_path, 0o2755)
    layer = unpack(archive.of(archive.directory("d"), archive.file("d/f")))

    assert [0, 0, 0] == [p.stat().st_gid for p in (layer, layer / "d", layer / "d/f")]


def test_extended_attributes(unpack, archive):
    headers = {"SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": "two\nlines="}
    layer = unpack(
        archive.of(
            archive.directory("d", pax_headers=headers), archive.file("f", pax_headers=headers)
        )
    )

    for name in ("d", "f"):
        assert b"1" == os.getxattr(layer / name, "user.a")
        assert b"two\nlines=" == os.getxattr(layer / name, "user.b")


@needs("root")
def test_file_capabilities_survive_the_change_of_owner(unpack):
    # VFS_CAP_REVISION_2, effective, cap_net_raw: linux/capability.h
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    record = b"SCHILY.xattr.security.capability=" + capability + b"\n"
    record = b"%d %s" % (len(record) + 3, record)
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(record)
    info = tarfile.TarInfo("ping")
    info.uid, info.mode = 12, 0o4755
    layer = unpack(header.tobuf() + record.ljust(512, b"\0") + info.tobuf())

    assert capability == os.getxattr(layer / "ping", "security.capability")
    assert 0o4755 == stat.S_IMODE((layer / "ping").stat().st_mode)


@needs("root")
def test_attributes_of_links_and_devices_are_their_own(unpack, archive):
    link = archive.symlink("l", "/etc/passwd")
    link[0].pax_headers = {"SCHILY.xattr.trusted.x": "1"}
    pipe = archive.member("p", tarfile.FIFOTYPE, pax_headers={"SCHILY.xattr.trusted.x": "2"})
    layer = unpack(archive.of(link, pipe))

    assert b"1" == os.getxattr(layer / "l", "trusted.x", follow_symlinks=False)
    assert b"2" == os.getxattr(layer / "p", "trusted.x")


def test_no_descriptor_is_left_open(unpack, archive):
    members = [archive.file(f"d{i}/e{i}/f{i}") for i in range(100)]
    before = len(os.listdir("/proc/self/fd"))
    unpack(archive.of(*members))
    unpack.close()

    assert before == len(os.listdir("/proc/self/fd"))
