"""registries.conf: what podman's manual says of it, and that nothing in it is a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import UsageError
from newroot.images.reference import is_short, parse
from newroot.images.registry.registries import Registries, load_registries


@pytest.fixture
def read(tmp_path: Path):
    def read(main: str = "", **drop_ins: str) -> Registries:
        system = tmp_path / "system"
        (system / "registries.conf.d").mkdir(parents=True, exist_ok=True)
        (system / "registries.conf").write_text(main)
        for name, text in drop_ins.items():
            (system / f"registries.conf.d/{name}.conf").write_text(text)
        return load_registries({}, home=str(tmp_path / "home"), system=str(system))

    return read


def names(registries: Registries, text: str) -> list[str]:
    return [str(reference) for reference in registries.candidates(text)]


def places(registries: Registries, text: str) -> list[str]:
    return [str(endpoint) for endpoint in registries.endpoints(parse(text))]


def test_without_files_everything_is_docker_s_way(tmp_path):
    registries = load_registries({}, home=str(tmp_path), system=str(tmp_path))

    assert ["docker.io/library/alpine:latest"] == names(registries, "alpine")
    assert ["quay.io/a/b:1"] == names(registries, "quay.io/a/b:1")
    assert ["docker.io/library/alpine"] == places(registries, "alpine")


def test_a_short_name_is_looked_for_in_order(read):
    registries = read('unqualified-search-registries = ["quay.io", "docker.io"]')

    assert ["quay.io/a:1", "docker.io/library/a:1"] == names(registries, "a:1")
    assert ["localhost/a:latest"] == names(registries, "localhost/a")


def test_an_alias_keeps_tag_and_digest_and_an_empty_one_is_taken_back(read):
    digest = "sha256:" + "a" * 64
    registries = read(
        '[aliases]\n"a" = "quay.io/x/a"\n"b/c" = "quay.io/y"',
        z='[aliases]\n"b/c" = ""\n"d" = "quay.io/d"',
    )

    assert ["quay.io/x/a:1"] == names(registries, "a:1")
    assert [f"quay.io/x/a:1@{digest}"] == names(registries, f"a:1@{digest}")
    assert ["docker.io/b/c:latest"] == names(registries, "b/c")
    assert ["quay.io/d:latest"] == names(registries, "d")


def test_enforcing_forbids_to_guess_among_several(read):
    main = 'short-name-mode = "enforcing"\nunqualified-search-registries = ["a.io", "b.io"]'
    with pytest.raises(UsageError, match="says not to guess") as caught:
        read(main).candidates("x")
    assert caught.value.hint == "give the whole name, one of a.io/x, b.io/x"
    assert ["a.io/x:latest"] == names(read(main, z='unqualified-search-registries=["a.io"]'), "x")


def test_the_longest_prefix_wins_and_stands_for_its_location(read):
    registries = read(
        '[[registry]]\nprefix = "a.io"\nlocation = "m.io"\n'
        '[[registry]]\nprefix = "a.io/x"\nlocation = "n.io:5000/deep/y"\ninsecure = true\n'
        '[[registry]]\nprefix = "*.b.io"\ninsecure = true\n'
        '[[registry]]\nprefix = "docker.io/library/alpine"\nlocation = "c.io/alps"\n'
    )
    assert ["m.io/z:1".removesuffix(":1")] == places(registries, "a.io/z:1")
    assert ["n.io:5000/deep/y/z"] == places(registries, "a.io/x/z:1")
    assert ["m.io/xy"] == places(registries, "a.io/xy")  # a prefix ends where a part ends
    assert registries.endpoints(parse("q.p.b.io/z"))[0].insecure
    assert not registries.endpoints(parse("b.io/z"))[0].insecure
    assert ["c.io/alps"] == places(registries, "alpine:3")
    assert registries.is_insecure("n.io:5000")


def test_mirrors_come_first_and_only_for_what_they_are_for(read):
    registries = read(
        '[[registry]]\nlocation = "a.io"\n'
        '[[registry.mirror]]\nlocation = "m.io/a"\npull-from-mirror = "digest-only"\n'
        '[[registry.mirror]]\nlocation = "n.io"\npull-from-mirror = "tag-only"\ninsecure = true\n'
        '[[registry]]\nlocation = "b.io"\nmirror-by-digest-only = true\n'
        '[[registry.mirror]]\nlocation = "m.io/b"\n'
    )
    digest = "sha256:" + "a" * 64
    assert ["n.io/x", "a.io/x"] == places(registries, "a.io/x:1")
    assert ["m.io/a/x", "a.io/x"] == places(registries, f"a.io/x@{digest}")
    assert ["b.io/x"] == places(registries, "b.io/x:1")
    assert ["m.io/b/x", "b.io/x"] == places(registries, f"b.io/x@{digest}")
    assert [True, False] == [e.is_mirror for e in registries.endpoints(parse("a.io/x:1"))]


def test_what_is_blocked_is_not_reached(read):
    registries = read('[[registry]]\nprefix = "a.io/bad"\nlocation = "a.io/bad"\nblocked = true')
    with pytest.raises(UsageError, match=r"blocks what begins with a\.io/bad"):
        registries.endpoints(parse("a.io/bad/x"))
    assert ["a.io/good"] == places(registries, "a.io/good")


def test_the_user_s_file_stands_for_the_system_s(tmp_path):
    system, home = tmp_path / "system", tmp_path / "home"
    own = home / ".config/containers"
    for directory in (system / "registries.conf.d", own):
        directory.mkdir(parents=True)
    (system / "registries.conf").write_text('unqualified-search-registries = ["s.io"]')
    (system / "registries.conf.d/x.conf").write_text('[aliases]\n"a" = "s.io/a"')
    (own / "registries.conf").write_text('unqualified-search-registries = ["h.io"]')
    one = load_registries({}, home=str(home), system=str(system))
    assert ["h.io/a:latest"] == names(one, "a")
    chosen = tmp_path / "chosen.conf"
    chosen.write_text('unqualified-search-registries = ["e.io"]')
    environ = {"CONTAINERS_REGISTRIES_CONF": str(chosen)}
    assert ["e.io/a:latest"] == names(
        load_registries(environ, home=str(home), system=str(system)), "a"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not toml", "registries.conf"),
        ("[registries.search]\nregistries = []", "version 1"),
        ('unqualified-search-registries = "a"', "not a list of strings"),
        ('unqualified-search-registries = ["https://a.io"]', "has a scheme"),
        ("[[registry]]\ninsecure = true", "no location"),
        ('[[registry]]\nlocation = "a.io"\ninsecure = "yes"', "neither true nor false"),
        ('[[registry]]\nlocation = "A B"', "may not stand in"),
        ('[[registry]]\nprefix = "a.*.io"\nlocation = "a.io"', "subdomains alone"),
        ('[[registry]]\nlocation = "a.io"\n[[registry.mirror]]\ninsecure = true', "no location"),
        ('short-name-mode = "never"', "not one of enforcing"),
        ('[aliases]\n"a:1" = "b.io/c"', "not a short name"),
        ('[aliases]\n"a" = "c"', "not a whole name"),
        ('registry = "x"', "something else"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(read, text, words):
    with pytest.raises(UsageError, match=words) as caught:
        read(text)
    assert "registries.conf" in str(caught.value)


VALUES = st.recursive(
    st.booleans() | st.integers() | st.sampled_from(["", "a.io", "*.a.io", "a.io/x:1", "é", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["location", "prefix", "mirror", "insecure", "blocked", "a", "b/c"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "registry",
        "aliases",
        "unqualified-search-registries",
        "short-name-mode",
        "credential-helpers",
    ]
)


@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_document_is_read_or_refused(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("conf") / "registries.conf"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in document.items()))
    try:
        registries = load_registries({"CONTAINERS_REGISTRIES_CONF": str(path)})
        for text in ("x", "a.io/x:1", "b/c"):
            for reference in registries.candidates(text):
                registries.endpoints(reference)
    except UsageError:
        pass


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}" = {toml(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(max(-(2**62), min(2**62, value)))


@given(st.text(alphabet="abzAZ019._-:/@[]%é \n", max_size=60))
def test_every_name_is_read_back_as_itself_or_refused(text):
    try:
        reference = parse(text)
    except UsageError:
        return
    assert str(reference) == str(parse(str(reference))) == str(parse(reference.familiar()))
    assert not is_short(str(reference))
