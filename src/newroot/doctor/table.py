"""Every check, in the order in which they are carried out."""

from __future__ import annotations

from newroot.doctor.blobs import check_blobs, check_index
from newroot.doctor.check import Check
from newroot.doctor.host import check_cgroups, check_disk, check_features, check_isolation
from newroot.doctor.layers import check_layers
from newroot.doctor.leavings import check_containers, check_orphans, check_runs, check_staged
from newroot.doctor.networks import check_networks
from newroot.doctor.snapshots import check_snapshots

#: What newroot keeps.
STORE_CHECKS = (
    Check(name="runs", asks="what ended was cleared away", run=check_runs),
    Check(name="index", asks="the list of images can be read", run=check_index),
    Check(name="leftovers", asks="no killed process left anything", run=check_staged),
    Check(name="blobs", asks="every blob of every image is there and unchanged", run=check_blobs),
    Check(name="layers", asks="every layer is unpacked as its blob has it", run=check_layers),
    Check(name="orphans", asks="nothing is stored that nobody names", run=check_orphans),
    Check(name="snapshots", asks="nothing is kept that no container needs", run=check_snapshots),
    Check(name="networks", asks="no address is a dead container's", run=check_networks),
    Check(name="containers", asks="every container can be read", run=check_containers),
)
#: What newroot runs on.
HOST_CHECKS = (
    Check(name="disk", asks="there is room", run=check_disk),
    Check(name="isolation", asks="how far containers can be isolated", run=check_isolation),
    Check(name="cgroups", asks="limits can be set", run=check_cgroups),
    Check(name="kernel", asks="what the kernel lets us do", run=check_features),
)
CHECKS = (*STORE_CHECKS, *HOST_CHECKS)
