"""Answers for the names of one network's containers, and asks others for the rest.

A process of its own, in the host's network, at the network's gateway address: ``names.py`` starts
it.  What it knows are the network's leases, read again when their directory has changed; there is
nothing to tell it, and nothing of it to lose.  DNS itself is dnslib's: docs/decisions/0038.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
from collections.abc import Sequence
from typing import cast

from dnslib import AAAA, PTR, QTYPE, RCODE, RR, A, DNSError, DNSRecord

from newroot.network.addresses import AF_INET6, to_number, to_text
from newroot.network.files import host_resolv
from newroot.oci import json

_FIRST_FD = 3
_TTL_S = 5  # an address may be another's soon
_PATIENCE_S = 3.0  #: for one server, before the next is asked
_MOST = 65535
_TICK_NS = 50_000_000

_IN_USE = 500  #: questions that are passed on at once; more are not answered


class Names:
    """Who is who, by the leases."""

    def __init__(self, place: str, network: str) -> None:
        self._place = place
        self._network = network.lower()
        self._stamp: tuple[int, int] | None = None
        self._addresses: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}
        self._servers: dict[str, list[str]] = {}
        self._containers: dict[str, str] = {}
        self._beside: dict[str, Names] = {}

    def addresses(self, name: str, client: str) -> list[str] | None:
        """Both families' addresses of a name; None for one that *client*'s networks do not know."""
        found = self._here(name)
        if found is not None:
            return found
        container = self._containers.get(client)
        for other in self._others() if container else ():
            if container in other.holders():
                found = other._here(name)
                if found is not None:
                    return found
        return None

    def _here(self, name: str) -> list[str] | None:
        self._read()
        found = self._addresses.get(name)
        if found is None and name.endswith(f".{self._network}"):
            found = self._addresses.get(name.removesuffix(f".{self._network}"))
        return found

    def holders(self) -> set[str]:
        """The containers on this network."""
        self._read()
        return set(self._containers.values())

    def _others(self) -> list[Names]:
        """The other networks of the same root, of which a client may be, too."""
        beside, _, own = self._place.rpartition("/")
        for name in os.listdir(beside):
            if name != own and name not in self._beside and os.path.isdir(f"{beside}/{name}"):
                self._beside[name] = Names(f"{beside}/{name}", name)
        return list(self._beside.values())

    def name(self, address: str) -> str | None:
        self._read()
        return self._names.get(address)

    def servers(self, client: str) -> list[str]:
        """Whom the container at *client* wants asked; empty: the host's."""
        self._read()
        return self._servers.get(client, [])

    def is_empty(self) -> bool:
        try:
            return not os.listdir(f"{self._place}/leases")
        except FileNotFoundError:
            return True

    def _read(self) -> None:
        try:
            found = os.stat(f"{self._place}/leases")
        except FileNotFoundError:
            return
        stamp = found.st_mtime_ns, found.st_ctime_ns
        if stamp == self._stamp:
            return
        # What changes again within one tick of the file system's clock has the same stamp.
        settled = time.time_ns() - found.st_ctime_ns > _TICK_NS
        self._addresses, self._names, self._servers, self._containers = {}, {}, {}, {}
        for key in os.listdir(f"{self._place}/leases"):
            if not key.endswith(".new"):
                self._learn(f"{self._place}/leases/{key}")
        self._stamp = stamp if settled else None

    def _learn(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                lease = json.loads(file.read(), what=path)
        except (OSError, ValueError):
            return
        addresses = [lease[key] for key in ("ip", "ip6") if lease.get(key)]
        for name in lease.get("names", ()):
            self._addresses.setdefault(name.lower(), []).extend(addresses)
        for address in addresses:
            self._names[address] = lease["names"][0] if lease.get("names") else ""
            self._servers[address] = list(lease.get("dns", ()))
            self._containers[address] = str(lease.get("container"))


class Responder:
    """Answers questions as they come, from whichever socket."""

    def __init__(self, names: Names, *, internal: bool) -> None:
        self._names = names
        self._internal = internal
        self._passed_on = 0

    async def answer(self, packet: bytes, client: str, *, tcp: bool) -> bytes | None:
        """The answer to one question; None where there is to be none."""
        try:
            request = DNSRecord.parse(packet)
        except (DNSError, ValueError, IndexError):
            return None
        if request.header.qr or len(request.questions) != 1:
            return None
        own = self._own(request, client)
        if own is not None:
            return bytes(own.pack())
        if self._internal or self._passed_on >= _IN_USE:
            return _refusal(request, RCODE.NXDOMAIN if self._internal else RCODE.SERVFAIL)
        self._passed_on += 1
        try:
            found = await self._ask_others(packet, client, tcp=tcp)
        finally:
            self._passed_on -= 1
        return found if found is not None else _refusal(request, RCODE.SERVFAIL)

    def _own(self, request: DNSRecord, client: str) -> DNSRecord | None:
        question = request.q
        name = str(question.qname).rstrip(".").lower()
        reply = request.reply(ra=1)
        if question.qtype == QTYPE.PTR:
            found = self._names.name(_of_pointer(name))
            if not found:
                return None
            reply.add_answer(RR(question.qname, QTYPE.PTR, rdata=PTR(found), ttl=_TTL_S))
            return reply
        addresses = self._names.addresses(name, client)
        if addresses is None:
            return None
        for address in addresses:
            six = ":" in address
            if question.qtype == (QTYPE.AAAA if six else QTYPE.A):
                data = AAAA(address) if six else A(address)
                kind = QTYPE.AAAA if six else QTYPE.A
                reply.add_answer(RR(question.qname, kind, rdata=data, ttl=_TTL_S))
        return reply  # a name that is ours and has no such record is none of anybody else's

    async def _ask_others(self, packet: bytes, client: str, *, tcp: bool) -> bytes | None:
        for server in self._names.servers(client) or host_resolv().servers:
            try:
                ask = _ask_by_tcp if tcp else _ask_by_udp
                return await asyncio.wait_for(ask(packet, server), _PATIENCE_S)
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                continue
        return None


async def _ask_by_udp(packet: bytes, server: str) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (server, 53))  # from nobody else will be heard
        await loop.sock_sendall(sock, packet)
        while True:
            found = await loop.sock_recv(sock, _MOST)
            if found[:2] == packet[:2]:
                return found


async def _ask_by_tcp(packet: bytes, server: str) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53)
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)
    finally:
        writer.close()


def _refusal(request: DNSRecord, code: int) -> bytes:
    reply = request.reply(ra=1)
    reply.header.rcode = code
    return bytes(reply.pack())


def _of_pointer(name: str) -> str:
    """``4.3.2.10.in-addr.arpa`` is 10.2.3.4; empty for what is none."""
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa") and len(labels) == 6:
            text = ".".join(reversed(labels[:4]))
            to_number(text)
            return text
        if name.endswith(".ip6.arpa") and len(labels) == 34:
            return to_text(AF_INET6, int("".join(reversed(labels[:32])), 16))
    except ValueError:
        pass
    return ""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(data, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        answer = await self._responder.answer(data, address[0], tcp=False)
        if answer is not None:
            self._transport.sendto(answer, address)


async def _serve_stream(
    responder: Responder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    client = writer.get_extra_info("peername")[0]
    try:
        while True:
            head = await asyncio.wait_for(reader.readexactly(2), 10)
            packet = await reader.readexactly(int.from_bytes(head, "big"))
            answer = await responder.answer(packet, client, tcp=True)
            if answer is None:
                return
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _serve(place: str, network: str, *, internal: bool, sockets: int) -> None:
    names = Names(place, network)
    responder = Responder(names, internal=internal)
    loop = asyncio.get_running_loop()
    servers = []  # kept, or they would be collected
    for number in range(sockets):
        sock = socket.socket(fileno=_FIRST_FD + 1 + number)
        sock.setblocking(False)
        if sock.type == socket.SOCK_DGRAM:
            await loop.create_datagram_endpoint(lambda: _Datagrams(responder), sock=sock)
        else:
            servers.append(
                await asyncio.start_server(
                    lambda reader, writer: _serve_stream(responder, reader, writer), sock=sock
                )
            )
    await _until_nobody_is_left(names, place)
    os._exit(0)  # with the lock that was taken: so nobody comes in between


async def _until_nobody_is_left(names: Names, place: str) -> None:
    from newroot.linux.watch import Watch

    watch = Watch(f"{place}/leases")
    loop = asyncio.get_running_loop()
    while True:
        if names.is_empty() and _nobody_comes(names, place):
            return
        # One thread waits; it costs nothing while nothing changes.
        await loop.run_in_executor(None, watch.wait, None)


def _nobody_comes(names: Names, place: str) -> bool:
    """Under the network's lock nobody can be about to join; it is ours until we are dead."""
    try:
        fd = os.open(f"{place}/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # the network was removed
    fcntl.flock(fd, fcntl.LOCK_EX)
    if names.is_empty():
        return True
    os.close(fd)
    return False


def main(arguments: Sequence[str]) -> None:
    """*arguments*: the network's place, its name, ``internal`` or ``open``, how many sockets."""
    place, network, kind, sockets = arguments
    os.chdir("/")
    asyncio.run(_serve(place, network, internal=kind == "internal", sockets=int(sockets)))
