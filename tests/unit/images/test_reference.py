"""Image names mean what they mean to Docker, and an error says where a name is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import UsageError
from newroot.images.reference import Reference, familiar, parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


# The cases of distribution's own reference/normalize_test.go and reference_test.go, in our words.
@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("a/b", "docker.io/a/b:latest"),
        ("a/b/c", "docker.io/a/b/c:latest"),
        ("localhost/busybox", "localhost/busybox:latest"),
        ("localhost:5000/a/b:tag", "localhost:5000/a/b:tag"),
        (f"localhost:5000/a/b:tag@{DIGEST}", f"localhost:5000/a/b:tag@{DIGEST}"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}"),
        ("quay.io/a_b/c__d/e-f/g---h.i:V1_x-y.z", "quay.io/a_b/c__d/e-f/g---h.i:V1_x-y.z"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("[fe80::1]/a", "[fe80::1]/a:latest"),
        ("HOST/a", "HOST/a:latest"),
        ("192.168.0.1/a", "192.168.0.1/a:latest"),
        ("a:" + "t" * 128, "docker.io/library/a:" + "t" * 128),
    ],
)
def test_a_name_gets_docker_s_defaults(text, whole):
    assert whole == str(parse(text))


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("Busybox", 1, "lower case"),
        ("a/Busybox", 3, "lower case"),
        ("busy box", 5, "' ' may not stand in"),
        ("-a", 1, "may not start or end with '-'"),
        ("a-", 2, "may not start or end"),
        ("a..b", 3, "'..' may not stand"),
        ("a___b", 4, "'___' may not stand"),
        ("a._b", 3, "'._' may not stand"),
        ("a//b", 3, "is empty"),
        ("/a", 1, "is empty"),
        ("a/", 3, "is empty"),
        ("localhost/", 11, "the repository's name is missing"),
        ("a:", 3, "the tag is empty"),
        ("a:-t", 3, "a tag may not start with '-'"),
        ("a:t!", 4, "'!' may not stand in a tag"),
        ("a:" + "t" * 129, 131, "longer than 128"),
        ("localhost:x/a", 11, "port 'x' is not a number"),
        ("-h.x/a", 1, "a part of a host name may not start"),
        ("h..x/a", 3, "a part of the host name is empty"),
        ("a@sha256", 3, "a digest looks like"),
        ("a@md5:00", 3, "not sha256 or sha512"),
        ("a@sha256:00", 10, "64 hexadecimal digits, here 2"),
        ("a@sha256:" + "G" * 64, 10, "'G' may not stand in a digest"),
        ("0123456789abcdef" * 4, 1, "an image ID, not a name"),
        ("[::1/a", 5, "ends with ']'"),
        ("büsy", 2, "may not stand in"),
    ],
)
def test_an_error_says_where_the_name_is_wrong(text, at, words):
    with pytest.raises(UsageError) as caught:
        parse(text)

    assert f"at character {at}: " in str(caught.value)
    assert words in str(caught.value)


def test_a_name_has_an_end():
    with pytest.raises(UsageError, match="longer than 255"):
        parse("a/" * 130 + "a")


def test_an_upper_case_name_is_given_back_in_lower_case():
    with pytest.raises(UsageError) as caught:
        parse("BusyBox:Tag")

    assert caught.value.hint == "perhaps 'busybox:Tag'"


@given(st.text())
def test_no_text_raises_anything_but_a_usage_error(text):
    try:
        reference = parse(text)
    except UsageError:
        return

    assert reference == parse(str(reference)) or reference.tag is None


pieces = st.sampled_from(["a", "0", "z9", "abc"])
component = st.builds(
    lambda first, rest: first + "".join(a + b for a, b in rest),
    pieces,
    st.lists(st.tuples(st.sampled_from([".", "_", "__", "-", "---"]), pieces), max_size=3),
)


@given(
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "quay.io", "[::1]:1"]),
    st.lists(component, min_size=2, max_size=3),
    st.sampled_from([None, "latest", "V1.0", "_", "0-.x"]),
    st.sampled_from([None, DIGEST]),
)
def test_what_the_grammar_allows_is_read_and_written_back(domain, path, tag, digest):
    reference = Reference(
        domain=domain,
        path="/".join(path),
        tag=tag or (None if digest else "latest"),
        digest=digest,
    )

    assert reference == parse(str(reference))
    assert reference == parse(reference.familiar())


def test_the_familiar_name_is_the_shortest():
    assert "busybox:latest" == familiar("docker.io/library/busybox:latest")
    assert "a/b:1" == familiar("docker.io/a/b:1")
    assert "not a reference" == familiar("not a reference")


def test_looking_an_image_up_imports_nothing_heavy():
    program = (
        "import newroot.images.store, newroot.images.reference;"
        "newroot.images.store.ImageStore('/nonexistent').find('busybox');"
        "import sys; print(sorted({'json','re','typing','enum','dataclasses','hashlib','ctypes',"
        "'pathlib','subprocess','tempfile','shutil','contextlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "[]" == done.stdout.strip()
