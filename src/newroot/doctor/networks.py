"""Networks: no address is a dead container's, every name is answered."""

from __future__ import annotations

from newroot.doctor.check import Finding
from newroot.errors import NewrootError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.doctor.check import Patient


def check_networks(patient: Patient) -> Iterator[Finding]:
    """No address belongs to a container that is gone; every network can be read."""
    from newroot.container.networking import networks_of
    from newroot.network.mending import dead_leases, give_back, mend_responders

    networks = networks_of(patient.engine.storage)
    try:
        known = networks.store.list()
    except NewrootError as error:
        yield Finding(state="bad", words=str(error), hint=error.hint)
        return
    restarted = mend_responders(networks)
    if restarted:
        yield Finding(state="mended", words=f"{restarted} responders for names: started again")
    found = dead_leases(networks)
    words = f"{len(found)} addresses of containers that are gone"
    if found and patient.repair:
        give_back(networks, found)
        yield Finding(state="mended", words=f"{words}: freed")
    elif found:
        yield Finding(state="bad", words=words, hint="newroot doctor --repair")
    yield Finding(state="note", words=f"{len(known)} networks")
