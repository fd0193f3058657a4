"""``newroot-oci spec``: a config.json to begin with."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(config, file, indent=1)
            file.write("\n")
    except FileExistsError:
        raise AlreadyExists(f"{path} is there already", hint="remove it first") from None
    return 0


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
    ),
)
