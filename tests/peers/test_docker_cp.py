"""``newroot cp`` beside ``docker cp``: every row of docker cp's table, both ways.

Each case has a tree of its own on both sides.  The same words are given to both commands; whether
they succeed, and what is there afterwards, must be the same.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from differential.views import Runtime
from engines import Box
from test_docker import IMAGE as DOCKER_IMAGE
from test_docker import Docker

from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.images.bootstrap import bootstrap_busybox
from newroot.testing import needs
from newroot.testing.roots import find_busybox

# Alone: an engine with its daemons and shims is a crowd of its own.
pytestmark = [
    needs("root", "overlay", "busybox", "docker"),
    pytest.mark.timeout(300),
    pytest.mark.serial,
]

Copy = Callable[..., bool]
Tree = dict[str, tuple[str, str]]

SOURCES = ("file", "file/", "dir", "dir/.", "link", "link/.", "flink", "dangling", "abs/",
           "none", ".")  # fmt: skip
TARGETS = ("file", "dir", "dir/", "link/", "flink", "dangling", "new", "new/", "new/deep")

#: docker cp extracts what is in a directory by making that directory, and does not take a link with
#: a slash behind it for one.  To us and to podman "link/" is the directory that it leads to.
DIFFERENT = {"dir/. -> link/", "link/. -> link/", ". -> link/"}


def cases() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for source in SOURCES:
        for target in TARGETS:
            yield source, target, ()
    for source in ("link", "flink", "dangling", "abs", "link/."):
        for target in ("dir", "new", "file"):
            yield source, target, ("-L",)


CASES = tuple(cases())

MAKE = """
mkdir -p dir/sub; echo one > dir/one; echo two > dir/sub/two; echo a file > file
ln -s dir link; ln -s file flink; ln -s nowhere dangling; ln -s {abs}/dir abs
"""


def make_script(where: str, count: int) -> str:
    lines = [f"mkdir -p {where}"]
    for number in range(count):
        here = f"{where}/{number}"
        for side in ("from", "to"):
            lines.append(f"mkdir -p {here}/{side}; cd {here}/{side}")
            lines.append(MAKE.format(abs=f"{here}/{side}"))
    return "\n".join(lines)


def read_tree(data: bytes) -> Tree:
    """Paths, kinds and contents of a tar."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            text = member.linkname
            if member.isreg():
                file = tar.extractfile(member)
                assert file is not None
                text = file.read().decode()
            found[os.path.normpath(member.name)] = (member.type.decode(), text)
    return found


def of_case(tree: Tree, number: int) -> Tree:
    prefix = f"{number}/to/"
    return {path: what for path, what in tree.items() if path.startswith(prefix)}


def without(tree: Tree, where: Path) -> Tree:
    """What links lead to, without where the trees are, which differs."""
    return {path: (kind, text.replace(str(where), "")) for path, (kind, text) in tree.items()}


def host_tree(directory: Path) -> Tree:
    done = subprocess.run(
        ["tar", "-c", "-C", directory, "."], stdout=subprocess.PIPE, check=True, timeout=60
    )
    return read_tree(done.stdout)


class Side:
    """One engine, a container of it with the trees, and the directory that its host's are in."""

    def __init__(self, copy: Copy, listing: Callable[[], bytes], host: Path) -> None:
        self.copy = copy
        self.listing = listing
        self.host = host


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory, newroot_oci: Runtime) -> Iterator[Side]:
    box = Box(tmp_path_factory.mktemp("docker"), "docker-cp")
    try:
        docker = Docker(box, newroot_oci.command[0])
        docker("run", "-d", "--name", "box", "--network", "none", DOCKER_IMAGE, "sleep", "1000")
        script = make_script("/c", len(CASES))
        box.run("/usr/bin/docker", "exec", "-i", "box", "sh", input=script, stdin=None)

        def copy(*words: str) -> bool:
            return docker("cp", *words, check=False).returncode == 0

        def listing() -> bytes:
            tar = ("exec", "box", "tar", "-c", "-C", "/c", ".")
            done = box.run("/usr/bin/docker", *tar, text=False)
            assert isinstance(done.stdout, bytes)
            return done.stdout

        yield Side(copy, listing, tmp_path_factory.mktemp("docker-host"))
        docker("rm", "-f", "box")
        docker.close()
    finally:
        box.close()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    root = tmp_path_factory.mktemp("ours")
    with Engine(root) as engine:
        bootstrap_busybox(engine.images, "busybox", find_busybox())
        box = engine.create("busybox", ["sleep", "1000"], name="box")
        try:
            engine.start(box)
            script = make_script("/c", len(CASES)).encode()
            engine.exec("box", ["sh"], input=script, check=True)

            def copy(*words: str) -> bool:
                source, target = words[-2:]
                follow, archive = "-L" in words, "-a" in words
                try:
                    if target.startswith("box:"):
                        engine.copy_to(source, "box", target[4:], follow=follow, archive=archive)
                    else:
                        engine.copy_from("box", source[4:], target, follow=follow, archive=archive)
                except NewrootError:
                    return False
                return True

            def listing() -> bytes:
                done = engine.exec("box", ["tar", "-c", "-C", "/c", "."], check=True)
                assert isinstance(done.stdout, bytes)
                return done.stdout

            yield Side(copy, listing, tmp_path_factory.mktemp("ours-host"))
        finally:
            engine.remove_container(box, force=True)


def differences(ours: list[tuple[bool, Tree]], theirs: list[tuple[bool, Tree]]) -> list[str]:
    found = []
    for case, mine, other in zip(CASES, ours, theirs, strict=True):
        words = " ".join((*case[2], case[0], "->", case[1]))
        if mine != other and not (words in DIFFERENT and mine[0]):
            only = {path: what for path, what in mine[1].items() if other[1].get(path) != what}
            missed = {path: what for path, what in other[1].items() if mine[1].get(path) != what}
            found.append(f"{words}: ok {mine[0]}/{other[0]}, we have {only}, they have {missed}")
    return found


def into(side: Side) -> list[tuple[bool, Tree]]:
    subprocess.run(["sh"], input=make_script(str(side.host), len(CASES)), text=True, check=True)
    went = []
    for number, (source, target, flags) in enumerate(CASES):
        here = f"{side.host}/{number}/from/{source}"
        went.append(side.copy(*flags, here, f"box:/c/{number}/to/{target}"))
    tree = without(read_tree(side.listing()), side.host)
    return [(ok, of_case(tree, number)) for number, ok in enumerate(went)]


def out_of(side: Side) -> list[tuple[bool, Tree]]:
    directory = side.host / "out"
    subprocess.run(["sh"], input=make_script(str(directory), len(CASES)), text=True, check=True)
    went = []
    for number, (source, target, flags) in enumerate(CASES):
        there = f"{directory}/{number}/to/{target}"
        went.append(side.copy(*flags, f"box:/c/{number}/from/{source}", there))
    tree = without(host_tree(directory), directory)
    return [(ok, of_case(tree, number)) for number, ok in enumerate(went)]


def test_into_a_container_every_row_is_dockers(ours: Side, docker: Side) -> None:
    found = differences(into(ours), into(docker))

    assert found == [], "\n".join(found)


def test_out_of_a_container_every_row_is_dockers(ours: Side, docker: Side) -> None:
    found = differences(out_of(ours), out_of(docker))

    assert found == [], "\n".join(found)
