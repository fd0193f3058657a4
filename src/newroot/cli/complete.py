"""``newroot __complete WORD…``: what the last of these words may become; for the shells alone.

The shells' scripts (completion.py) know nothing of newroot: they hand over the words up to the
cursor, without ``newroot`` itself.  The answer is a line for each candidate, a tab and what it
means; at last a line that begins with a colon and says what else the shell is to offer: ``:file``,
``:directory``, ``:nospace`` or ``:``.  It is made from the tables that the parser and the help are
made from.  Names come from the files, by listing directories: no container is looked at.
"""

from __future__ import annotations

import os

from newroot.cli.flags import Flag
from newroot.cli.main import EVERYWHERE, GLOBAL_FLAGS
from newroot.cli.verbs import ALIASES, VERBS, find_verb, group_of, load_verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from newroot.cli.flags import Verb

Candidates = list[tuple[str, str]]
_SHORT_ID = 12


def main(words: list[str]) -> int:
    """Print the candidates.  Nothing that goes wrong is said: somebody is typing."""
    try:
        found, rest = complete(words or [""])
    except Exception:
        found, rest = [], ""
    lines = [f"{value}\t{meaning}" for value, meaning in found if "\n" not in value]
    print("\n".join([*lines, f":{rest}"]))
    return 0


def complete(words: list[str]) -> tuple[Candidates, str]:
    """The candidates for the last of *words*, and what else the shell may offer."""
    *before, current = words
    line = _Line()
    for word in before:
        line.take(word)
    found, rest = line.offer(current)
    return [(value, meaning) for value, meaning in found if value.startswith(current)], rest


class _Line:
    """What has been typed so far, by the same rules as flags.parse_words()."""

    def __init__(self) -> None:
        self._verb: Verb | None = None
        self._names: tuple[str, ...] = ()  # that have not named a verb yet
        self._flags: tuple[Flag, ...] = GLOBAL_FLAGS
        self._given: dict[str, str] = {}
        self._awaited: Flag | None = None  # whose value is the next word
        self._count = 0  # of positionals
        self._only_positionals = False

    def take(self, word: str) -> None:
        if self._awaited is not None:
            self._given[self._awaited.name] = word
            self._awaited = None
        elif self._only_positionals or not word.startswith("-") or word == "-":
            self._positional(word)
        elif word == "--":
            self._only_positionals = True
        elif word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            self._flag(_named(self._flags, name), value if has_value else None)
        else:
            self._bundle(word[1:])

    def _bundle(self, letters: str) -> None:
        for place, letter in enumerate(letters, 1):
            flag = next((f for f in self._flags if f.short == letter), None)
            if flag is not None and flag.metavar:
                self._flag(flag, letters[place:] or None)
                return

    def _flag(self, flag: Flag | None, value: str | None) -> None:
        if flag is None or not flag.metavar:
            return
        if value is None:
            self._awaited = flag
        else:
            self._given[flag.name] = value

    def _positional(self, word: str) -> None:
        if self._verb is not None:
            self._count += 1
            self._only_positionals |= self._verb.stops_at_positional
            return
        self._names += (word,)
        found = find_verb(self._names)
        # `image bootstrap` is a verb, and `image bootstrap busybox` another.
        if found is not None and not self._may_go_on():
            self._verb = load_verb(found[0])
            self._flags = (*self._verb.flags, *EVERYWHERE)
            self._count = len(self._names) - found[1]

    def _may_go_on(self) -> bool:
        prefix = " ".join(self._names) + " "
        return any(name.startswith(prefix) for name in (*VERBS, *ALIASES))

    # ── what may come ────────────────────────────────────────────────────────────────────────

    def offer(self, current: str) -> tuple[Candidates, str]:
        if self._awaited is not None:
            return self._values(self._awaited, current)
        if not self._only_positionals and current.startswith("-"):
            return self._flag_words(current)
        if self._verb is None:
            return self._verb_words(), ""
        positionals = self._verb.positionals
        if not positionals or (self._count >= len(positionals) and not positionals[-1].repeat):
            return [], ""
        place = positionals[min(self._count, len(positionals) - 1)]
        return self._kind(place.completes, current)

    def _flag_words(self, current: str) -> tuple[Candidates, str]:
        name, has_value, value = current.partition("=")
        flag = _named(self._flags, name.removeprefix("--"))
        if has_value and flag is not None:
            found, rest = self._values(flag, value)
            return [(f"{name}={each}", meaning) for each, meaning in found], rest
        return [(f"--{flag.name}", flag.help) for flag in self._flags], ""

    def _verb_words(self) -> Candidates:
        place = len(self._names)
        found: dict[str, str] = {}
        for name in (*VERBS, *ALIASES):
            parts = name.split(" ")
            if len(parts) > place and tuple(parts[:place]) == self._names:
                is_whole = len(parts) == place + 1
                summary = VERBS[ALIASES.get(name, name)][1] if is_whole else ""
                found[parts[place]] = summary or found.get(parts[place], "")
        return [(word, summary or f"{word} …") for word, summary in found.items()]

    def _values(self, flag: Flag, current: str) -> tuple[Candidates, str]:
        if flag.choices:
            return [(choice, "") for choice in flag.choices], ""
        return self._kind(flag.completes, current)

    def _kind(self, kind: str, current: str) -> tuple[Candidates, str]:
        if kind in ("file", "directory"):
            return [], kind
        if kind == "volume" and current.startswith(("/", ".", "~")):
            return [], "file"
        if kind == "container-path":
            if ":" in current or current.startswith(("/", ".", "~")):
                return [], "file"
            found = [(f"{name}:", meaning) for name, meaning in self._names_of("container")]
            return found, "nospace file"
        return self._names_of(kind), ""

    def _names_of(self, kind: str) -> Candidates:
        find = _NAMES.get(kind)
        return [] if find is None else sorted(find(self._root()))

    def _root(self) -> str:
        from newroot.container.places import default_root

        return os.path.abspath(self._given.get("root") or default_root(os.environ, os.geteuid()))


def _named(flags: Iterable[Flag], name: str) -> Flag | None:
    return next((flag for flag in flags if flag.name == name), None)


# ── names ────────────────────────────────────────────────────────────────────────────────────


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _containers(root: str) -> Iterator[tuple[str, str]]:
    named = set()
    for name in _listed(f"{root}/names"):
        try:
            named.add(container_id := os.readlink(f"{root}/names/{name}"))
        except OSError:
            continue
        yield name, container_id[:_SHORT_ID]
    for container_id in _listed(f"{root}/containers"):
        if container_id not in named:
            yield container_id[:_SHORT_ID], "without a name"


def _images(root: str) -> Iterator[tuple[str, str]]:
    from newroot.images.reference import familiar
    from newroot.oci import json

    try:
        with open(f"{root}/images/index.json", "rb") as file:
            index = json.loads(file.read(), what="index.json")
    except FileNotFoundError:
        return
    for entry in index["manifests"]:
        name = (entry.get("annotations") or {}).get("org.opencontainers.image.ref.name")
        if name:
            yield familiar(name), str(entry.get("digest", ""))[7 : 7 + _SHORT_ID]


def _volumes(root: str) -> Iterator[tuple[str, str]]:
    return ((name, "") for name in _listed(f"{root}/volumes") if not name.startswith("."))


def _networks(root: str) -> Iterator[tuple[str, str]]:
    found = (name for name in _listed(f"{root}/networks") if name.endswith(".json"))
    return ((name.removesuffix(".json"), "") for name in found)


def _signals(root: str) -> Iterator[tuple[str, str]]:
    from newroot.linux.constants import SIGNALS

    return ((name.removeprefix("SIG"), "") for name in SIGNALS)


def _capabilities(root: str) -> Iterator[tuple[str, str]]:
    from newroot.linux.capabilities import NAMES

    return ((name.removeprefix("CAP_"), "") for name in ("ALL", *NAMES))


def _verbs(root: str) -> Iterator[tuple[str, str]]:
    return ((name, VERBS[name][1]) for name in VERBS if group_of((name,)) is None)


_NAMES: dict[str, Callable[[str], Iterator[tuple[str, str]]]] = {
    "container": _containers,
    "image": _images,
    "volume": _volumes,
    "network": _networks,
    "signal": _signals,
    "capability": _capabilities,
    "shell": lambda root: ((name, "") for name in ("bash", "fish", "zsh")),
    "verb": _verbs,
}
