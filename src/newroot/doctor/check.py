"""A check, what it finds, and how all are carried out."""

from __future__ import annotations

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Literal

    from newroot.engine import Engine

    State = Literal["note", "bad", "mended", "lost"]


@record
class Finding:
    """One thing that a check has to say."""

    check: str = ""
    #: note: all is well, or as it is; bad: repair would mend it; mended: it was bad; lost: nobody
    #: here can bring it back
    state: State
    words: str
    hint: str | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether something is left to be done."""
        return self.state in ("bad", "lost")


class Patient:
    """What is examined, and how."""

    def __init__(
        self,
        engine: Engine,
        *,
        repair: bool = False,
        quick: bool = False,
        fetch: bool = True,
        tls_verify: bool | None = None,
    ) -> None:
        self.engine = engine
        self.images = engine.images
        self.repair = repair
        self.quick = quick  #: sizes alone, no content is read
        self.fetch = fetch  #: registries may be asked for what is gone
        self.tls_verify = tls_verify  #: False: also by plain HTTP, or unverified
        self.bad_blobs: dict[str, str] = {}  #: digest: what is wrong; filled by blobs.py


@record
class Check:
    """One question, and who answers it."""

    name: str
    asks: str  #: for people: what is looked at
    run: Callable[[Patient], Iterable[Finding]]


def examine(patient: Patient, checks: Iterable[Check]) -> Iterator[Finding]:
    """Carry out *checks*, in their order, for a later one may stand on an earlier one's repair."""
    from newroot.errors import NewrootError
    from newroot.record import replace

    for check in checks:
        try:
            for finding in check.run(patient):
                yield replace(finding, check=check.name)
        except NewrootError as error:
            yield Finding(check=check.name, state="lost", words=str(error), hint=error.hint)
