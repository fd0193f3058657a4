"""``newroot-oci features``: what this runtime knows, as features.md and features-linux.md have it.

Every line is read from the table that the runtime itself goes by, so none can promise what is not
there.  It is about the runtime: what a host makes of it is another matter (features.md).
"""

from __future__ import annotations

from newroot.cli.flags import Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def features() -> dict[str, Any]:
    """The features structure."""
    from newroot.container.hooks import POINTS
    from newroot.oci.config import OCI_VERSION_MAX, OCI_VERSION_MIN
    from newroot.rootfs.mount_steps import option_names
    from newroot.version import VERSION

    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION_MAX,
        "hooks": list(POINTS),
        "mountOptions": list(option_names()),
        "linux": _linux(),
        "annotations": {
            "org.newroot.version": VERSION,
            # containerd and podman look here whether they may ask for a checkpoint.
            "org.opencontainers.runc.checkpoint.enabled": str("checkpoint" in VERBS).lower(),
        },
    }


def _linux() -> dict[str, Any]:
    from newroot.isolation import namespaces, tuning
    from newroot.linux.capabilities import NAMES

    return {
        "namespaces": sorted(namespaces.NAMES),
        "capabilities": list(NAMES),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "memoryPolicy": {
            "modes": sorted(tuning.MEMORY_MODES),
            "flags": sorted(tuning.MEMORY_FLAGS),
        },
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }


def _seccomp() -> dict[str, Any]:
    from newroot.isolation import seccomp

    return {
        "enabled": True,
        "actions": sorted(seccomp.ACTIONS),
        "operators": sorted(seccomp.OPERATORS),
        "archs": sorted(seccomp.ARCHES),
        "knownFlags": sorted(seccomp.FLAGS),
        "supportedFlags": sorted(seccomp.FLAGS),
    }


def _features(parsed: Parsed, context: OciContext) -> int:
    from json import dumps

    print(dumps(features(), indent=4))
    return 0


FEATURES = Verb(name="features", summary=VERBS["features"][1], run=_features)
