"""``newroot-oci spec``: a config.json to begin with."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _spec(parsed: Parsed, context: OciContext) -> int:
    import json

    from newroot.container.config import make_config
    from newroot.container.devices import Found
    from newroot.container.settings import Settings
    from newroot.errors import AlreadyExists
    from newroot.isolation.users import User

    path = os.path.join(parsed.text("bundle") or ".", "config.json")
    settings = Settings(command=("sh",), readonly_root=True, terminal=True)
    config = make_config(
        settings, {}, args=["sh"], user=User(), hostname="newroot", mounts=[], devices=Found()
    )
    if parsed.is_set("rootless"):
        make_rootless(config, os.geteuid(), os.getegid())
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(config, file, indent=1)
            file.write("\n")
    except FileExistsError:
        raise AlreadyExists(f"{path} is there already", hint="remove it first") from None
    return 0


def make_rootless(config: dict[str, Any], uid: int, gid: int) -> None:
    """Change *config* into one that an ordinary user can run: runc's specconv, ToRootless().

    Its root is the caller; the network is the host's, for nobody else could set one up; what
    belongs to ids that it has not, and limits, are left out.
    """
    linux = config["linux"]
    kept = [space for space in linux["namespaces"] if space["type"] not in ("network", "user")]
    linux["namespaces"] = [*kept, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    linux.pop("resources", None)
    for mount in config["mounts"]:
        if mount["destination"] == "/sys":  # sysfs is its network namespace's owner's to mount
            mount.update(
                type="none",
                source="/sys",
                options=["rbind", "nosuid", "noexec", "nodev", "ro"],
            )
        options = mount.get("options") or []
        mount["options"] = [o for o in options if not o.startswith(("uid=", "gid="))]


SPEC = Verb(
    name="spec",
    summary=VERBS["spec"][1],
    run=_spec,
    flags=(
        Flag(
            name="bundle",
            short="b",
            metavar="DIR",
            help="The bundle's directory, by default this one",
        ),
        Flag(name="rootless", help="One that an ordinary user can run"),
    ),
)
