"""Archives that a machine thinks up: no traceback, no file outside, no leftover."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from newroot.errors import NewrootError
from newroot.images.flat import import_tar
from newroot.testing.archives import Archive, Scene, listing

made = Archive()
parts = st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "host", "secret"])
names = st.lists(parts, min_size=1, max_size=4).map("/".join)
targets = names | names.map(lambda name: f"/{name}") | st.just("../../../host/secret")
members = st.one_of(
    names.map(made.file),
    names.map(made.directory),
    st.builds(made.symlink, names, targets),
    st.builds(made.hard_link, names, targets),
)


def _try(scene: Scene, data: bytes) -> None:
    host, before = listing(scene.host), scene.everything()
    refused, image = None, None
    try:
        image = import_tar(scene.store, io.BytesIO(data), "evil", absolute_names=True)
    except NewrootError as error:
        refused = str(error)

    assert host == listing(scene.host), "HOST PATH WAS CHANGED"
    if refused is not None:
        assert before == scene.everything(), "A REFUSED ARCHIVE CHANGED FILES"
        assert "\n" not in refused
    if image is not None:
        assert Path(image.layers[0]).is_dir()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(members, min_size=1, max_size=8))
def test_no_arrangement_of_links_leads_out(entries):
    with tempfile.TemporaryDirectory() as directory:
        _try(Scene(Path(directory)), made.of(*entries))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_damage_to_an_archive_gives_more_than_an_error(data):
    whole = bytearray(
        made.of(made.directory("d"), made.file("d/x" * 40, b"x" * 700), made.symlink("l", "d"))
    )
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
        # A right checksum lets the damage through to where it may hurt.
        if data.draw(st.booleans()):
            start = at - at % 512
            block = whole[start : start + 512]
            total = sum(block) - sum(block[148:156]) + 256
            whole[start + 148 : start + 156] = b"%06o\0 " % total
    with tempfile.TemporaryDirectory() as directory:
        _try(Scene(Path(directory)), bytes(whole))
