"""A bundle through newroot-oci and its peer, each case but once, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterable

from differential import (
    cases_invalid,
    cases_linux,
    cases_mounts,
    cases_process,
    cases_resources,
)
from differential.bundles import CASES, Case, Config
from differential.differences import Difference, differing, unexplained
from differential.views import Host, Kit, Outcome, Runtime, run

#: By being imported they have filled CASES.
TABLES = (cases_process, cases_mounts, cases_linux, cases_resources, cases_invalid)


def names_of(table: str) -> list[str]:
    """The cases of ``cases_TABLE.py``."""
    return [case.name for case in CASES.values() if case.table == table]


class Comparison:
    """Runtimes, the hosts that they are tried on, and what came of it."""

    def __init__(
        self, kit: Kit, newroot_oci: Runtime, peers: dict[str, tuple[Runtime, Host]]
    ) -> None:
        self.kit = kit
        self.newroot_oci = newroot_oci
        self.peers = peers
        self._known: dict[str, tuple[Outcome, Outcome | None]] = {}

    def outcomes(self, name: str) -> tuple[Outcome, Outcome | None]:
        """Ours, and its peer's where it has one."""
        if name not in self._known:
            case = CASES[name]
            self._known[name] = self.run(case.config(), case.peer)
        return self._known[name]

    def run(self, config: Config, peer: str | None) -> tuple[Outcome, Outcome | None]:
        """*config* by newroot-oci and by *peer*, on the same host."""
        runtime, host = self.peers[peer or "runc"]
        ours = run(self.kit, host, self.newroot_oci, config)
        return ours, run(self.kit, host, runtime, config) if peer else None

    def check(self, name: str) -> None:
        """Fail unless the case shows what it must, and what its peer shows."""
        case = CASES[name]
        ours, theirs = self.outcomes(name)
        found = {fact: ours.facts.get(fact) for fact in case.expect}

        assert found == dict(case.expect), ours.errors
        assert all(word in ours.errors for word in case.words), ours.errors
        if theirs is not None:
            self.assert_alike([name], case, ours, theirs)

    def assert_alike(
        self, names: Iterable[str], case: Case, ours: Outcome, theirs: Outcome
    ) -> None:
        """Fail with every difference that no row explains."""
        assert case.peer is not None
        found = unexplained(names, case.peer, ours, theirs)
        assert found == [], "\n".join([*found, ours.errors, theirs.errors])

    def shows(self, row: Difference) -> list[str]:
        """The facts by which its example still shows the difference."""
        ours, theirs = self.outcomes(row.example)
        assert theirs is not None
        return [
            fact for fact in differing(ours, theirs) if row.covers([row.example], row.peer, fact)
        ]
