"""``newroot network create|ls|inspect|rm|connect|disconnect|prune``: Docker's flags and output."""

from __future__ import annotations

import sys

from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import FORMAT, JSON_FORMAT, confirm, print_json, print_rows
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound, UsageError
from newroot.filters import has_label, values_by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.engine import Engine
    from newroot.network.definitions import Network

_COLUMNS = {"NETWORK ID": "ID", "NAME": "Name", "DRIVER": "Driver", "SCOPE": "Scope"}
_MTU = ("mtu", "com.docker.network.driver.mtu")
_INTERFACE = "com.docker.network.bridge.name"


def _engine(context: Context) -> Engine:
    from newroot.engine import Engine

    return Engine(context.root, run_root=context.run_root)


def _create(parsed: Parsed, context: Context) -> int:
    from newroot.container.labels import read_labels

    if parsed.text("driver") not in (None, "bridge"):
        raise UsageError(f"no network driver {parsed.text('driver')!r}", hint="bridge")
    options = dict(word.partition("=")[::2] for word in parsed.texts("opt"))
    name = parsed.positionals[0]
    made = _engine(context).create_network(
        name,
        subnets=parsed.texts("subnet"),
        gateways=parsed.texts("gateway"),
        ip_ranges=parsed.texts("ip_range"),
        ipv6=parsed.is_set("ipv6"),
        internal=parsed.is_set("internal"),
        isolated=options.get("isolate", "true") != "false",
        names=not parsed.is_set("disable_dns"),
        mtu=_mtu(options),
        interface=parsed.text("interface_name") or options.get(_INTERFACE),
        labels=dict(read_labels((), parsed.texts("label"))),
        options=options,
        exist_ok=parsed.is_set("ignore"),
    )
    print(made.id if parsed.text("driver") else made.name)
    return 0


def _mtu(options: dict[str, str]) -> int | None:
    said = next((options[name] for name in _MTU if name in options), None)
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and 68 <= int(said) <= 65535):
        raise UsageError(f"invalid mtu {said!r:.20}", hint="between 68 and 65535")
    return int(said)


def _list(parsed: Parsed, context: Context) -> int:
    found = _chosen(_engine(context), parsed.texts("filter"))
    if parsed.is_set("quiet"):
        for network in found:
            print(_id(network, parsed))
        return 0
    print_rows(_COLUMNS, [_row(network, parsed) for network in found], parsed.text("format"))
    return 0


def _row(network: Network, parsed: Parsed) -> dict[str, str]:
    return {
        "CreatedAt": _at(network.created),
        "Driver": "bridge",
        "ID": _id(network, parsed),
        "IPv6": str(network.ipv6).lower(),
        "Internal": str(network.internal).lower(),
        "Labels": ",".join(f"{name}={value}" for name, value in network.labels),
        "Name": network.name,
        "Scope": "local",
    }


def _id(network: Network, parsed: Parsed) -> str:
    return network.id if parsed.is_set("no_trunc") else network.id[:12]


def _at(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _chosen(engine: Engine, filters: list[str] | tuple[str, ...]) -> list[Network]:
    """Filters of one name are alternatives, but for labels; all names have to hold."""
    found = engine.networks()
    for name, values in values_by_name(filters, _TESTS).items():
        how = all if name == "label" else any
        found = [n for n in found if how(_TESTS[name](engine, n, value) for value in values)]
    return found


_TESTS: dict[str, Callable[[Engine, Network, str], bool]] = {
    "name": lambda engine, network, value: value in network.name,
    "id": lambda engine, network, value: network.id.startswith(value),
    "driver": lambda engine, network, value: value == "bridge",
    "label": lambda engine, network, value: has_label(dict(network.labels), value),
    "type": lambda engine, network, value: (value == "builtin") == (network.name == "bridge"),
    "dangling": lambda engine, network, value: (
        (value in ("true", "1")) != bool(engine.network_users(network.name))
    ),
}


def _inspect(parsed: Parsed, context: Context) -> int:
    engine = _engine(context)
    found: list[dict[str, Any]] = []
    code = each(
        parsed.positionals,
        lambda name: found.append(_document(engine, engine.network(name))),
        debug=context.debug,
    )
    print_json(found, indent=None if parsed.text("format") == "json" else 4)
    return code


def _document(engine: Engine, network: Network) -> dict[str, Any]:
    containers = {found.id: found for found in engine.containers()}
    users = engine.network_users(network.name)
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": _at(network.created),
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": network.ipv6,
        "IPAM": {"Driver": "default", "Options": {}, "Config": [*map(_ipam, network.subnets)]},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "Containers": {
            container_id: {
                "Name": (containers[container_id].name or "") if container_id in containers else "",
                "EndpointID": container_id,
                "MacAddress": lease["mac"],
                "IPv4Address": _with_prefix(network, lease["ip"]),
                "IPv6Address": _with_prefix(network, lease["ip6"]),
            }
            for container_id, lease in users.items()
        },
        "Options": dict(network.options),
        "Labels": dict(network.labels),
        "Interface": network.interface,
        "Isolated": network.isolated,
        "Names": network.names,
    }


def _ipam(subnet: Any) -> dict[str, str]:
    found = {"Subnet": subnet.subnet, "Gateway": subnet.gateway or ""}
    if subnet.first is not None:
        found["IPRange"] = f"{subnet.first}-{subnet.last}"
    return found


def _with_prefix(network: Network, ip: str | None) -> str:
    if ip is None:
        return ""
    from newroot.network.addresses import family_of

    subnet = network.of_family(family_of(ip))
    return f"{ip}/{subnet.block.prefix_length}" if subnet is not None else ip


def _remove(parsed: Parsed, context: Context) -> int:
    engine = _engine(context)

    def remove(name: str) -> None:
        try:
            engine.remove_network(name)
        except NotFound:
            if not parsed.is_set("force"):
                raise
        else:
            print(name)

    return each(parsed.positionals, remove, debug=context.debug)


def _connect(parsed: Parsed, context: Context) -> int:
    network, container = parsed.positionals
    with _engine(context) as engine:
        engine.connect_network(
            network,
            container,
            ip=parsed.text("ip"),
            ip6=parsed.text("ip6"),
            mac=parsed.text("mac_address"),
            aliases=parsed.texts("alias"),
        )
    return 0


def _disconnect(parsed: Parsed, context: Context) -> int:
    network, container = parsed.positionals
    with _engine(context) as engine:
        engine.disconnect_network(network, container)
    return 0


def _prune(parsed: Parsed, context: Context) -> int:
    if not parsed.is_set("force") and not confirm(
        "This removes all networks that no container is on."
    ):
        print("Nothing was removed.", file=sys.stderr)
        return 0
    engine = _engine(context)
    kept = {name for found in engine.containers() for name in _wanted(engine, found.id)}
    removed = []
    for network in _chosen(engine, parsed.texts("filter")):
        if network.name in kept or network.name == "bridge" or engine.network_users(network.name):
            continue
        engine.remove_network(network.name)
        removed.append(network.name)
    if removed:
        print("Deleted Networks:")
        print("\n".join(removed))
    return 0


def _wanted(engine: Engine, container_id: str) -> list[str]:
    """The networks that a container that does not run will want again."""
    from newroot.container.networking import names_of

    record = engine.storage.record(container_id)
    return names_of(engine.settings_of(container_id)) if record.get("settings") else []


_FILTER = Flag(
    name="filter", metavar="NAME=VALUE", repeat=True, help="Only those: name, id, label, …"
)

CREATE = Verb(
    name="network create",
    summary=VERBS["network create"][1],
    run=_create,
    flags=(
        Flag(name="driver", short="d", metavar="DRIVER", help="What kind it is: bridge"),
        Flag(name="subnet", metavar="SUBNET", repeat=True, help="Its addresses, as 10.1.2.0/24"),
        Flag(name="gateway", metavar="ADDRESS", repeat=True, help="The host's own address in it"),
        Flag(
            name="ip-range",
            metavar="SUBNET",
            repeat=True,
            help="Give containers addresses of this part only",
        ),
        Flag(name="ipv6", help="Have IPv6 addresses, too"),
        Flag(name="internal", help="Nothing leaves the host, nothing comes from outside"),
        Flag(name="disable-dns", help="No names of containers"),
        Flag(name="label", metavar="NAME=VALUE", repeat=True, help="Note something about it"),
        Flag(
            name="opt",
            short="o",
            metavar="NAME=VALUE",
            repeat=True,
            help="Set mtu=1400, or isolate=false, so that other networks reach it",
        ),
        Flag(name="interface-name", metavar="NAME", help="Call the bridge so"),
        Flag(name="ignore", help="Do not mind one that is there already"),
    ),
    positionals=(Positional(name="NETWORK"),),
    details="Without --subnet a free one is chosen. The containers of two networks do not reach "
    "each other, but by published ports.",
    examples=(
        ("two containers that know each other", "newroot network create shop"),
        ("with addresses of your own", "newroot network create --subnet 10.9.0.0/24 shop"),
    ),
)

LIST = Verb(
    name="network ls",
    summary=VERBS["network ls"][1],
    run=_list,
    flags=(
        _FILTER,
        FORMAT,
        Flag(name="no-trunc", help="Do not shorten ids"),
        Flag(name="quiet", short="q", help="Print the ids alone"),
    ),
)

INSPECT = Verb(
    name="network inspect",
    summary=VERBS["network inspect"][1],
    run=_inspect,
    flags=(
        Flag(
            name="format",
            short="f",
            metavar="FORMAT",
            choices=JSON_FORMAT,
            help="Print it on one line",
        ),
    ),
    positionals=(Positional(name="NETWORK", repeat=True, completes="network"),),
)

REMOVE = Verb(
    name="network rm",
    summary=VERBS["network rm"][1],
    run=_remove,
    flags=(Flag(name="force", short="f", help="Do not mind a network that is not there"),),
    positionals=(Positional(name="NETWORK", repeat=True, completes="network"),),
    details="A network that a container is on is not removed.",
)

CONNECT = Verb(
    name="network connect",
    summary=VERBS["network connect"][1],
    run=_connect,
    flags=(
        Flag(name="ip", metavar="ADDRESS", help="Its IPv4 address there"),
        Flag(name="ip6", metavar="ADDRESS", help="Its IPv6 address there"),
        Flag(name="mac-address", metavar="MAC", help="Its interface's address"),
        Flag(name="alias", metavar="NAME", repeat=True, help="Another name for it there"),
    ),
    positionals=(
        Positional(name="NETWORK", completes="network"),
        Positional(name="CONTAINER", completes="container"),
    ),
    details="At once if it runs, and at each later start.",
)

DISCONNECT = Verb(
    name="network disconnect",
    summary=VERBS["network disconnect"][1],
    run=_disconnect,
    flags=(Flag(name="force", short="f", help="As without: for scripts"),),
    positionals=(
        Positional(name="NETWORK", completes="network"),
        Positional(name="CONTAINER", completes="container"),
    ),
    details="At once if it runs, and for later starts.",
)

PRUNE = Verb(
    name="network prune",
    summary=VERBS["network prune"][1],
    run=_prune,
    flags=(_FILTER, Flag(name="force", short="f", help="Do not ask")),
)
