"""One flag's value each: sizes, CPUs, ulimits, names, environment, devices, sysctls, options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.container.environment import parse_env, parse_env_file, read_environment
from newroot.container.names import (
    check_container_name,
    check_hostname,
    check_user,
    parse_signal,
)
from newroot.container.privileges import parse_device, parse_security_options, parse_sysctl
from newroot.container.resources import (
    parse_cpus,
    parse_cpuset,
    parse_memory,
    parse_pids_limit,
    parse_size,
    parse_ulimit,
)
from newroot.container.settings import Device
from newroot.errors import UsageError

# --- how much ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("32", 32),
        ("32b", 32),
        ("32B", 32),
        ("32k", 32 << 10),
        ("32K", 32 << 10),
        ("32kb", 32 << 10),
        ("32KiB", 32 << 10),
        ("32Mb", 32 << 20),
        ("32G", 32 << 30),
        ("32 gib", 32 << 30),
        ("32t", 32 << 40),
        ("1p", 1 << 50),
        ("0.5g", 1 << 29),
        ("32.5kB", 32 * 1024 + 512),
        ("32 b", 32),
    ],
)
def test_sizes_are_written_as_docker_reads_them(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "m", " 1m", "1m ", "1  m", "-1m", "1e3", "1..5m", ".5m", "5.m", "1x", "1mm", "١m"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@given(st.integers(0, 2**60), st.sampled_from(["", "b", "B"]))
def test_a_number_of_bytes_is_that_number(number: int, suffix: str) -> None:
    assert parse_size(f"{number}{suffix}") == number


def test_memory_is_at_least_six_megabytes_and_zero_is_no_limit() -> None:
    assert parse_memory("6m") == 6 << 20
    assert parse_memory("0") is None
    for text in ("1b", "6291455", "8388608t"):
        with pytest.raises(UsageError):
            parse_memory(text)


def test_cpus() -> None:
    assert [parse_cpus(text) for text in ("2", "1.5", "0.01", ".5", "0")] == [
        2,
        1.5,
        0.01,
        0.5,
        None,
    ]
    for text in ("", ".", "-1", "0.001", "1e3", "nan", "inf", "1.5 ", "1_0"):
        with pytest.raises(UsageError):
            parse_cpus(text)


def test_cpu_lists() -> None:
    assert parse_cpuset("0-3,6") == "0-3,6"
    assert parse_cpuset("") is None
    for text in ("a", "3-1", "1,", "-1", "1-", "1 ,2", "0-3:1"):
        with pytest.raises(UsageError):
            parse_cpuset(text)


def test_a_pids_limit_of_minus_one_or_zero_is_none() -> None:
    assert [parse_pids_limit(text) for text in ("-1", "0", "7")] == [None, None, 7]
    for text in ("", "-2", "x", "--1", "1.5"):
        with pytest.raises(UsageError):
            parse_pids_limit(text)


def test_ulimits() -> None:
    assert parse_ulimit("nofile=1024") == ("nofile", 1024, 1024)
    assert parse_ulimit("nofile=1024:4096") == ("nofile", 1024, 4096)
    assert parse_ulimit("core=-1") == ("core", -1, -1)
    assert parse_ulimit("memlock=0:unlimited") == ("memlock", 0, -1)


@pytest.mark.parametrize(
    "text",
    ["nofile", "nofile=", "files=1", "nofile=2:1", "nofile=-1:5", "nofile=1:2:3", "=1", "nofile=x"],
)
def test_other_ulimits_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ulimit(text)


# --- names ---------------------------------------------------------------------------------------


def test_container_names_are_docker_s() -> None:
    for name in ("ab", "a1", "Web_1.2-x", "0a", "a" * 255):
        assert check_container_name(name) == name
    for name in ("", "a", "-a", ".a", "_a", "a/b", "a b", "ä1", "a\n", "../x", "a" * 256):
        with pytest.raises(UsageError):
            check_container_name(name)


@given(st.text())
def test_a_name_that_passes_is_one_safe_component_of_a_path(name: str) -> None:
    try:
        check_container_name(name)
    except UsageError:
        return
    assert "/" not in name
    assert not name.startswith((".", "-"))
    assert name.isascii()
    assert name.isprintable()


def test_hostnames_are_those_of_rfc_1123_that_the_kernel_holds() -> None:
    for name in ("a", "web-1.example.org", "3com", "a" * 63, "a" * 31 + "." + "b" * 32):
        assert check_hostname(name) == name
    for name in ("", "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "ä", "a" * 64, "a." * 32 + "a"):
        with pytest.raises(UsageError):
            check_hostname(name)


def test_users_have_at_most_one_group() -> None:
    for user in ("root", "0", "1000:1000", "www-data:www"):
        assert check_user(user) == user
    for user in ("", ":", "a:", ":b", "a:b:c", "a\n", "a\0"):
        with pytest.raises(UsageError):
            check_user(user)


def test_signals_have_one_name_each() -> None:
    for text in ("term", "SIGTERM", "15", "sigterm"):
        assert parse_signal(text) == "SIGTERM"
    assert parse_signal("RTMIN+3") == "SIGRTMIN+3"
    for text in ("0", "65", "SIG", "TERMINATE", ""):
        with pytest.raises(UsageError):
            parse_signal(text)


# --- environment ---------------------------------------------------------------------------------


def test_a_variable_without_a_value_is_the_caller_s() -> None:
    assert parse_env("A", {"A": "host"}) == ("A", "host")
    assert parse_env("A", {}) == ("A", None)
    assert parse_env("A=", {"A": "host"}) == ("A", "")
    assert parse_env("A=b=c", {}) == ("A", "b=c")
    for word in ("", "=b", "A=\0"):
        with pytest.raises(UsageError):
            parse_env(word, {})


def test_an_env_file_is_docker_s_format_without_quoting() -> None:
    content = (
        b'\xef\xbb\xbf# comment\n\nA=1\n  B= two words \nC="quoted" # kept\r\n'
        b"FROM_HOST\nNOT_THERE\nD==\nexport=x"
    )

    assert parse_env_file(content, {"FROM_HOST": "h"}) == {
        "A": "1",
        "B": " two words ",
        "C": '"quoted" # kept',
        "FROM_HOST": "h",
        "D": "=",
        "export": "x",
    }


@pytest.mark.parametrize("line", [b"=x", b"A B=c", b"export A=b", b"\xff=1", b"A\tB", b"A=\0"])
def test_an_env_file_says_which_line_is_wrong(line: bytes) -> None:
    with pytest.raises(UsageError, match=r"file:2: "):
        parse_env_file(b"GOOD=1\n" + line, {}, path="file")


def test_later_variables_win_and_e_wins_over_files(tmp_path: object) -> None:
    file = f"{tmp_path}/env"
    with open(file, "wb") as out:
        out.write(b"A=file\nB=file\nC=file\n")

    setting, unsetting = read_environment([file], ["A=one", "A=two", "C", "PATH"], {"PATH": "/bin"})

    assert dict(setting) == {"A": "two", "B": "file", "PATH": "/bin"}
    assert unsetting == ("C",)


# --- privileges ----------------------------------------------------------------------------------


def test_devices() -> None:
    same = Device(host_path="/dev/fuse", container_path="/dev/fuse")

    assert parse_device("/dev/fuse") == same
    assert parse_device("/dev/fuse:/dev/fuse") == same
    assert parse_device("/dev/fuse:r").permissions == "r"
    assert parse_device("/dev/a:/dev/b:rw") == Device(
        host_path="/dev/a", container_path="/dev/b", permissions="rw"
    )
    for text in ("", "fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/dev/a:rr", "/dev/a:/b:r:w", "/a:/b:"):
        with pytest.raises(UsageError):
            parse_device(text)


def test_only_sysctls_of_a_namespace_are_allowed() -> None:
    assert parse_sysctl("net.ipv4.ip_forward=1") == ("net.ipv4.ip_forward", "1")
    assert parse_sysctl("net/ipv4/conf/eth0.1/forwarding=1")[0] == "net.ipv4/conf/eth0.1/forwarding"
    assert parse_sysctl("kernel.shmmax=") == ("kernel.shmmax", "")
    assert parse_sysctl("fs.mqueue.msg_max=10") == ("fs.mqueue.msg_max", "10")


@pytest.mark.parametrize(
    "text",
    [
        *("kernel.core_pattern=|/x", "vm.swappiness=1", "net.ipv4.ip_forward", "", "=1", "net.=1"),
        *(
            "net..x=1",
            "net/../kernel/core_pattern=x",
            "netx.y=1",
            "kernel.hostname=x",
            "fs.mqueue=1",
        ),
    ],
)
def test_other_sysctls_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sysctl(text)


def test_security_options() -> None:
    assert parse_security_options(
        ["no-new-privileges", "seccomp=/p.json", "mask=/a:/b", "mask=/a", "unmask=/proc/acpi"]
    ) == {
        "no_new_privileges": True,
        "seccomp": "/p.json",
        "masked": ("/a", "/b"),
        "unmasked": ("/proc/acpi",),
    }
    assert parse_security_options(["no-new-privileges:false"]) == {"no_new_privileges": False}
    assert parse_security_options(["systempaths=unconfined"]) == {"unmasked": ("ALL",)}
    assert parse_security_options(["seccomp=builtin"]) == {"seccomp": None}
    assert parse_security_options(["apparmor=unconfined", "label=disable"]) == {}


@pytest.mark.parametrize(
    "option",
    [
        *(
            "",
            "seccomp",
            "seccomp=",
            "mask=",
            "mask=a",
            "mask=/a::/b",
            "apparmor=mine",
            "colour=red",
        ),
        *("no-new-privileges=maybe", "no-new-privileges=", "label=type:x", "systempaths=x"),
    ],
)
def test_other_security_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError):
        parse_security_options([option])
