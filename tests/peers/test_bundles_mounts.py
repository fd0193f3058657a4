"""The same bundles through newroot-oci and a peer, seen from inside: the root and the mounts.

pytest tests/peers/test_bundles_mounts.py -k NAME
"""

from __future__ import annotations

import pytest
from differential.comparison import Comparison, names_of

from newroot.testing.needs import needs

pytestmark = [needs("root", "gcc", "runc", "crun"), pytest.mark.timeout(60)]


@pytest.mark.parametrize("name", names_of("mounts"))
def test_the_view_is_the_peer_s(comparison: Comparison, name: str) -> None:
    comparison.check(name)
