"""The store is an OCI layout, finds images by any of their names, and says what is missing."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from newroot.errors import (
    BlobNotFound,
    ImageError,
    NotFound,
    SizeMismatch,
    StateError,
    UsageError,
)
from newroot.images.change import Change
from newroot.images.flat import import_tar
from newroot.images.layers import add_unknown_layer
from newroot.images.store import ImageStore, Removed
from newroot.testing.archives import listing


@pytest.fixture
def image(store, archive):
    return import_tar(store, io.BytesIO(archive.of(archive.file("x"))), "a/b:1", command=["sh"])


def test_a_store_that_is_not_there_is_empty_and_stays_so(store):
    assert store.find("busybox") is None
    assert () == store.list()
    with pytest.raises(NotFound):
        store.get("busybox")
    with pytest.raises(NotFound):
        store.remove("busybox")
    with pytest.raises(NotFound):
        store.tag("busybox", "x")
    assert not os.path.exists(store.root)


def test_an_image_is_found_by_each_of_its_names(store, image):
    digits = image.digest.removeprefix("sha256:")

    assert "docker.io/a/b:1" == image.reference
    for name in (
        "a/b:1",
        "docker.io/a/b:1",
        f"a/b@{image.digest}",
        image.digest,
        digits,
        digits[:8],
    ):
        assert image == store.get(name), name


def test_an_image_is_found_by_docker_s_id_too(store, image):
    manifest = json.loads(Path(store.blob_path(image.digest)).read_bytes())

    assert image == store.get(manifest["config"]["digest"].removeprefix("sha256:")[:12])


def test_a_name_that_another_tool_gave_is_found(store, image):
    index = Path(store.images, "index.json")
    document = json.loads(index.read_text())
    document["manifests"][0]["annotations"] = {
        "org.opencontainers.image.ref.name": "localhost/mine:latest"
    }
    index.write_text(json.dumps(document))

    assert image.digest == store.get("mine").digest
    assert image.digest == store.get("localhost/mine").digest


def test_the_error_for_a_missing_image_names_what_is_near(store, image):
    store.tag("a/b:1", "busybox")
    with pytest.raises(NotFound) as caught:
        store.get("busibox")

    assert "find image 'busibox': there is none here" == str(caught.value)
    assert "perhaps busybox" in caught.value.hint
    assert "newroot images" in caught.value.hint


def test_a_name_that_cannot_be_is_a_usage_error(store, image):
    with pytest.raises(UsageError, match="lower case"):
        store.get("BusyBox")


def test_the_record_says_what_the_engine_needs(store, image):
    (path,) = image.layers

    assert ["sh"] == image.config["config"]["Cmd"]
    assert os.path.isabs(path)
    assert b"evil" == Path(path, "x").read_bytes()
    assert image.created is not None
    assert image.size > 0
    assert (image,) == store.list()


# ── damage ───────────────────────────────────────────────────────────────────────────────────


def test_a_missing_layer_is_one_clear_error_with_its_remedy(store, image):
    shutil.rmtree(image.layers[0])
    before = listing(Path(store.root))
    with pytest.raises(ImageError) as caught:
        store.get("a/b:1")

    diff_id = image.config["rootfs"]["diff_ids"][0]
    assert (
        f"resolve image docker.io/a/b:1: layer 1 of 1, {diff_id}, is not unpacked at "
        f"{image.layers[0]}: No such file or directory (ENOENT)" == str(caught.value)
    )
    assert f"newroot load -i {store.images}" in caught.value.hint
    assert before == listing(Path(store.root))


def test_the_remedy_for_a_missing_layer_works(store, image):
    from newroot.images.archive import load_archive

    before = listing(Path(store.root))
    shutil.rmtree(image.layers[0])
    load_archive(store, store.images)

    assert image == store.get("a/b:1")
    assert before == listing(Path(store.root))


def test_a_missing_blob_is_named(store, image):
    os.unlink(store.blob_path(image.digest))

    with pytest.raises(BlobNotFound, match=image.digest):
        store.get("a/b:1")
    assert [image.digest] == [each.digest for each in store.list()]


def test_a_short_blob_is_named(store, image):
    Path(store.blob_path(image.digest)).write_bytes(b"")

    with pytest.raises(SizeMismatch, match=f"{image.digest} has 0 bytes"):
        store.get("a/b:1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1, column 2"),
        ("[]", "is missing or not an object"),
        ("{}", "/manifests: is missing or not a list"),
        ('{"manifests": [1]}', "/manifests/0"),
    ],
)
def test_a_damaged_index_says_where(store, image, text, words):
    Path(store.images, "index.json").write_text(text)

    with pytest.raises(ImageError) as caught:
        store.get("a/b:1")
    assert words in str(caught.value)
    assert "index.json" in str(caught.value)


# ── layers ───────────────────────────────────────────────────────────────────────────────────


def stacked(store: ImageStore, image, diff_ids: list[str]):
    from newroot.oci import json as ours

    config = {**image.config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    with Change(store) as change:
        from newroot.images.change import give_name
        from newroot.oci.image import CONFIG, LAYER, MANIFEST, Descriptor, Manifest

        written = change.write_blob(ours.dumps(config).encode(), CONFIG)
        layers = tuple(Descriptor(media_type=LAYER, digest=d, size=1) for d in diff_ids)
        document = Manifest(config=written, layers=layers).document()
        manifest = change.write_blob(ours.dumps(document).encode(), MANIFEST)
        change.commit(lambda entries: give_name(entries, manifest, "docker.io/library/s:latest"))
    return store.get("s")


def three_layers(store: ImageStore, archive) -> list:
    return [
        import_tar(store, io.BytesIO(archive.of(archive.file(name))), name) for name in ("a", "b")
    ] + [import_tar(store, io.BytesIO(archive.of(archive.file(".wh..wh..opq", b""))), "c")]


def test_layers_stand_topmost_first_and_each_once(store, archive):
    a, b, _ = three_layers(store, archive)
    ids = [i.config["rootfs"]["diff_ids"][0] for i in (a, b)]

    assert (b.layers[0], a.layers[0]) == stacked(store, a, ids).layers
    assert (a.layers[0], b.layers[0]) == stacked(store, a, [*ids, ids[0]]).layers


def test_below_an_opaque_root_there_is_nothing(store, archive):
    a, b, c = three_layers(store, archive)
    ids = [i.config["rootfs"]["diff_ids"][0] for i in (a, c, b)]

    assert (b.layers[0], c.layers[0]) == stacked(store, a, ids).layers


# ── names ────────────────────────────────────────────────────────────────────────────────────


def test_a_tag_is_one_more_name(store, image):
    other = store.tag("a/b:1", "other")

    assert image.digest == other.digest
    assert ["docker.io/a/b:1", "docker.io/library/other:latest"] == [
        each.reference for each in store.list()
    ]
    assert store.get("a/b:1")


def test_tagging_twice_changes_nothing(store, image):
    store.tag("a/b:1", "other")
    before = listing(Path(store.root))
    store.tag("a/b:1", "other")

    assert before == listing(Path(store.root))


def test_a_name_that_moves_leaves_its_image_without_one(store, image, archive):
    import_tar(store, io.BytesIO(archive.of(archive.file("y"))), "a/b:1")

    assert image.digest != store.get("a/b:1").digest
    assert "" == store.get(image.digest).reference
    assert 2 == len(store.list())


def test_removing_the_last_name_removes_blobs_and_layers(store, image):
    store.tag("a/b:1", "other")

    assert Removed(untagged=("docker.io/a/b:1",), deleted=()) == store.remove("a/b:1")
    assert store.get("other")
    assert (image.digest,) == store.remove("other").deleted
    assert [] == os.listdir(f"{store.images}/blobs/sha256")
    assert [] == os.listdir(store.layers)


def test_what_another_image_needs_stays(store, image, archive):
    import_tar(store, io.BytesIO(archive.of(archive.file("x"))), "same/layer", command=["other"])
    store.remove("a/b:1")

    assert image.layers == store.get("same/layer").layers


def test_a_layer_that_a_container_stands_on_stays(store, image):
    store.remove("a/b:1", keep_layers=image.layers)

    assert os.path.isdir(image.layers[0])


def test_an_id_of_several_names_is_not_removed_by_it(store, image):
    store.tag("a/b:1", "other")

    with pytest.raises(StateError, match="several names"):
        store.remove(image.digest)
    store.remove("other")
    assert (image.digest,) == store.remove(image.digest[7:19]).deleted


# ── changes ──────────────────────────────────────────────────────────────────────────────────


def test_a_change_that_fails_takes_back_what_it_published(store, image):
    def fail() -> None:
        with Change(store) as change:
            change.write_blob(b"{}", "x")
            change.publish_layer(change.new_layer(), "sha256:" + "0" * 64)
            change.new_blob().write(b"half")
            change.new_layer()
            raise ZeroDivisionError

    before = listing(Path(store.root))
    with pytest.raises(ZeroDivisionError):
        fail()

    assert before == listing(Path(store.root))


def test_a_change_that_fails_keeps_what_somebody_has_come_to_need(store, archive):
    data = archive.of(archive.file("x"))

    def fail() -> None:
        stream = io.BytesIO(data)
        with Change(store) as change:
            add_unknown_layer(change, lambda: stream.read(512), what="it", absolute_names=False)
            import_tar(store, io.BytesIO(data), "meanwhile")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert b"evil" == Path(store.get("meanwhile").layers[0], "x").read_bytes()


def test_what_was_removed_meanwhile_is_noticed(store, image):
    def lose() -> None:
        with Change(store) as change:
            assert change.has_layer(image.config["rootfs"]["diff_ids"][0])
            store.remove("a/b:1")
            change.commit(lambda entries: None)

    with pytest.raises(ImageError, match="removed by somebody meanwhile"):
        lose()


KILLED = """
import os, sys
from newroot.images.change import Change
from newroot.images.store import ImageStore
with Change(ImageStore(sys.argv[1])) as change:
    change.new_blob().write(b"half"); os.mkdir(change.new_layer().path + "/d")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_goes_with_the_next_change(store, image):
    before = listing(Path(store.root))
    path = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", KILLED, store.root], env={"PYTHONPATH": path})

    assert -9 == done.returncode
    assert before != listing(Path(store.root))
    with Change(store):
        pass
    assert before == listing(Path(store.root))


IMPORTING = """
import io, sys
from newroot.images.flat import import_tar
from newroot.images.store import ImageStore
from newroot.testing.archives import Archive
made, store = Archive(), ImageStore(sys.argv[1])
print("begin", flush=True)
for turn in range(1000):
    entries = [made.file(f"f{turn}-{i}", b"x" * 500) for i in range(20)]
    import_tar(store, io.BytesIO(made.of(*entries)), f"n{turn % 3}", command=[str(turn)])
    if turn % 4 == 3:
        store.remove("n1")
"""


def test_a_writer_killed_anywhere_leaves_whole_images_only(store):
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    for turn in range(10):
        command = [sys.executable, "-c", IMPORTING, store.root]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            threading.Event().wait(0.003 + 0.013 * turn)  # somewhere in the midst of it
            process.kill()
        for image in store.list():
            resolved = store.get(image.reference or image.digest)
            assert 20 == len(os.listdir(resolved.layers[0]))

    with Change(store):
        pass
    assert [] == [n for d in (store.images, store.layers) for n in os.listdir(d) if n[0] == "."]


def test_many_writers_and_readers_at_once(store, archive):
    data = archive.of(*[archive.file(f"f{i}") for i in range(20)])
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(4):
                import_tar(store, io.BytesIO(data), f"image{number}", command=[str(turn)])
                store.get(f"image{number}")
                store.list()
                if turn % 2:
                    store.tag(f"image{number}", f"tag{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    names = {image.reference for image in store.list() if image.reference}
    assert 12 == len(names)
    assert [] == [name for name in os.listdir(store.layers) if name.startswith(".")]
