"""The manual pages: one for newroot, one for each verb, one for newroot-oci: man(7).

Made from the tables that the parser and the help are made from, when a wheel is built
(scripts/gen-man).  Nothing here is loaded by a command.
"""

from __future__ import annotations

from newroot.cli.flags import Flag, Verb, usage_line
from newroot.cli.verbs import ALIASES, VERBS, load_verb
from newroot.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def pages() -> Iterator[tuple[str, str]]:
    """Each page: ``newroot-volume-create.1``, and its text."""
    yield "newroot.1", _overview()
    for name in VERBS:
        yield page_name(name), _verb(load_verb(name))
    yield "newroot-oci.1", _oci()


def names() -> tuple[str, ...]:
    """The names of all pages; loads no verb."""
    return ("newroot.1", *map(page_name, VERBS), "newroot-oci.1")


def page_name(verb: str) -> str:
    return f"newroot-{verb.replace(' ', '-')}.1"


def _verb(verb: Verb) -> str:
    title = f"newroot-{verb.name.replace(' ', '-')}"
    lines = [_heading(title), ".SH NAME", f"{_text(title)} \\- {_text(verb.summary)}"]
    lines += [".SH SYNOPSIS", *_usage(usage_line(verb))]
    aliases = [f"newroot {alias}" for alias, name in ALIASES.items() if name == verb.name]
    for alias in aliases:
        lines += [".br", *_usage(usage_line(verb).replace(f"newroot {verb.name}", alias, 1))]
    lines += [".SH DESCRIPTION", *_paragraphs(verb.details or f"{verb.summary}.")]
    lines += _flags(verb.flags)
    if verb.examples:
        lines.append(".SH EXAMPLES")
        for what, command in verb.examples:
            lines += [".PP", f"{_text(what)}:", ".PP", ".RS 4", ".nf", _line(command), ".fi", ".RE"]
    lines += _see_also(verb.name)
    return "\n".join(lines) + "\n"


def _overview() -> str:
    from newroot.cli.main import GLOBAL_FLAGS

    lines = [_heading("newroot"), ".SH NAME", "newroot \\- Linux containers without a daemon"]
    lines += [".SH SYNOPSIS", *_usage("newroot [GLOBAL OPTIONS] VERB ...")]
    lines += [
        ".SH DESCRIPTION",
        *_paragraphs(
            "Give any process a new root. Each verb has a page of its own, as "
            "newroot-run(1), and newroot VERB --help says the same in short."
        ),
        ".SH VERBS",
    ]
    for heading in dict.fromkeys(heading for _, _, heading in VERBS.values()):
        lines.append(f".SS {_text(heading)}")
        for name, (_, summary, own) in VERBS.items():
            if own == heading:
                lines += [".TP", f"\\fB{_text(name)}\\fR", _line(summary)]
    lines += _flags(GLOBAL_FLAGS)
    lines += [
        ".SH EXIT STATUS",
        *_paragraphs(
            "The command's own; 128+n when signal n ended it; 127 when it was not found, 126 when "
            "it could not be executed, 125 when newroot itself failed."
        ),
        ".SH ENVIRONMENT",
        ".TP", "\\fBNEWROOT_ROOT\\fR", "Where images, containers and volumes are kept.",
        ".TP", "\\fBNEWROOT_RUN_ROOT\\fR", "Where the state of what runs is kept.",
        ".SH SEE ALSO", "newroot\\-oci(1), namespaces(7), pivot_root(2)",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _oci() -> str:
    from newroot.cli.oci import verbs as oci

    lines = [_heading("newroot-oci"), ".SH NAME", "newroot\\-oci \\- run containers of OCI bundles"]
    lines += [".SH SYNOPSIS", *_usage("newroot-oci [GLOBAL OPTIONS] VERB ...")]
    lines += [
        ".SH DESCRIPTION",
        *_paragraphs(
            "An OCI runtime with the command line of runc(8), for engines: podman, Docker, "
            "containerd. newroot-oci VERB --help says the same in short."
        ),
        ".SH VERBS",
    ]
    for name in oci.VERBS:
        verb = oci.load_verb(name)
        lines += [f".SS {_text(name)}", *_usage(usage_line(verb, "newroot-oci")), ".PP"]
        lines += _paragraphs(verb.details or f"{verb.summary}.")
        lines += [line for flag in verb.flags for line in _flag(flag)]
    lines += [".SH SEE ALSO", "newroot(1), runc(8)"]
    return "\n".join(lines) + "\n"


# ── parts ────────────────────────────────────────────────────────────────────────────────────


def _heading(title: str) -> str:
    return f'.TH {_text(title).upper()} 1 "" "newroot {VERSION}" "newroot"'


def _usage(usage: str) -> list[str]:
    words = usage.split(" ")
    count = next((n for n, word in enumerate(words) if not word.islower()), len(words))
    bold, rest = " ".join(words[:count]), " ".join(words[count:])
    return [f"\\fB{_text(bold)}\\fR {_text(rest)}".rstrip()]


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [".PP", _line(" ".join(paragraph.split()))]
    return lines[1:]


def _flags(flags: Iterable[Flag]) -> list[str]:
    by_heading: dict[str, list[Flag]] = {}
    for flag in flags:
        by_heading.setdefault(flag.group, []).append(flag)
    if not by_heading:
        return []
    lines = [".SH OPTIONS"]
    for heading, group in by_heading.items():
        lines += [f".SS {_text(heading)}"] if len(by_heading) > 1 else []
        lines += [line for flag in group for line in _flag(flag)]
    return lines


def _flag(flag: Flag) -> list[str]:
    names = [f"-{flag.short}"] if flag.short else []
    words = ", ".join(f"\\fB{_text(name)}\\fR" for name in (*names, f"--{flag.name}"))
    value = f" \\fI{_text(flag.metavar)}\\fR" if flag.metavar else ""
    choices = f" ({', '.join(flag.choices)})" if flag.choices else ""
    return [".TP", words + value, _line(flag.help + choices + ".")]


def _see_also(name: str) -> list[str]:
    group = name.partition(" ")[0]
    near = [each for each in VERBS if each != name and each.partition(" ")[0] == group]
    pages = ["newroot(1)", *(f"{page_name(each)[:-2]}(1)" for each in near)]
    return [".SH SEE ALSO", _text(", ".join(pages))]


def _text(text: str) -> str:
    """*text* for the middle of a line: a minus stays one, a backslash too."""
    return text.replace("\\", "\\e").replace("-", "\\-")


def _line(text: str) -> str:
    """The same for a whole line, which no request may begin."""
    return ("\\&" if text.startswith((".", "'")) else "") + _text(text)
