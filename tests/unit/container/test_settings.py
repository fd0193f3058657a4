"""Settings: from a user's words to one checked value, for the command line and for Python."""

from __future__ import annotations

import pickle

import pytest

from newroot.container.places import default_root, default_run_root
from newroot.container.settings import Mount, Settings, check, check_source
from newroot.container.words import read_settings
from newroot.errors import UsageError


def test_no_words_are_docker_s_defaults() -> None:
    settings = read_settings({})

    assert settings == Settings()
    assert (settings.network, settings.pid, settings.switch) == ("none", "private", "pivot")


def test_words_without_a_value_were_not_said() -> None:
    assert read_settings({"memory": None, "volume": [], "env": [], "user": None}) == Settings()


def test_every_word_reaches_its_field() -> None:
    settings = read_settings(
        {
            "entrypoint": "/bin/sh",
            "env": ["A=1", "B=2"],
            "workdir": "/srv//x/../y/",
            "user": "www:data",
            "name": "web.1",
            "hostname": "web-1.example",
            "tty": True,
            "interactive": True,
            "init": True,
            "rm": True,
            "read_only": True,
            "privileged": True,
            "stop_signal": "quit",
            "memory": "1.5g",
            "cpus": "0.5",
            "pids_limit": "100",
            "cpuset_cpus": "0-1,3",
            "ulimit": ["nofile=1:2", "core=0", "nofile=3:4"],
            "cap_add": ["net_admin"],
            "cap_drop": ["all"],
            "sysctl": ["net.ipv4.ip_forward=1"],
            "device": ["/dev/fuse:/dev/f:r"],
            "security_opt": ["no-new-privileges", "seccomp=unconfined", "unmask=ALL"],
            "pid": "host",
            "ipc": "private",
            "cgroupns": "host",
            "userns": "host",
            "switch": "move",
            "volume": ["data:/data"],
            "mount": ["type=tmpfs,target=/t"],
            "tmpfs": ["/u"],
            "network": "none",
        },
        ("echo", "hi"),
        host_env={},
    )

    assert settings.command == ("echo", "hi")
    assert settings.entrypoint == ("/bin/sh",)
    assert settings.env == (("A", "1"), ("B", "2"))
    assert settings.cwd == "/srv/y"
    assert (settings.user, settings.name, settings.hostname) == (
        "www:data",
        "web.1",
        "web-1.example",
    )
    assert settings.terminal
    assert settings.interactive
    assert settings.init
    assert settings.remove
    assert settings.readonly_root
    assert settings.privileged
    assert settings.stop_signal == "SIGQUIT"
    assert (settings.memory_bytes, settings.cpus) == (3 << 29, 0.5)
    assert (settings.pids_limit, settings.cpuset_cpus) == (100, "0-1,3")
    assert settings.ulimits == (("nofile", 3, 4), ("core", 0, 0))
    assert (settings.cap_add, settings.cap_drop) == (("CAP_NET_ADMIN",), ("ALL",))
    assert settings.sysctls == (("net.ipv4.ip_forward", "1"),)
    assert settings.devices[0].container_path == "/dev/f"
    assert settings.no_new_privileges
    assert (settings.seccomp, settings.unmasked) == ("unconfined", ("ALL",))
    assert (settings.pid, settings.cgroupns, settings.userns) == ("host", "host", "host")
    assert settings.switch == "move"
    assert [mount.target for mount in settings.mounts] == ["/data", "/t", "/u"]


def test_an_empty_entrypoint_is_no_entrypoint_and_none_is_the_image_s() -> None:
    assert read_settings({"entrypoint": ""}).entrypoint == ()
    assert read_settings({}).entrypoint is None


def test_an_entrypoint_of_several_words_is_for_python() -> None:
    assert read_settings({"entrypoint": ["sh", "-c"]}).entrypoint == ("sh", "-c")


@pytest.mark.parametrize(
    "words",
    [
        {"memory": "lots"},
        {"memory": "5m"},
        {"workdir": "srv"},
        {"network": "no/thing"},
        {"network": ["host", "bridge"]},
        {"publish": ["70000"]},
        {"network": "none", "publish": ["80"]},
        {"pid": "container:x"},
        {"switch": "jump"},
        {"colour": "red"},
        {"cap_add": ["NET_ADMINN"]},
        {"stop_signal": "NOISE"},
        {"env_file": ["/nonexistent/file"]},
    ],
)
def test_a_wrong_word_is_a_usage_error(words: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        read_settings(words)


def test_a_nul_byte_in_the_command_is_refused_before_the_kernel_cuts_it() -> None:
    with pytest.raises(UsageError):
        read_settings({}, ("echo", "a\0b"))


def test_two_mounts_on_one_target_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="duplicate mount point: /a"):
        read_settings({"volume": ["one:/a"], "tmpfs": ["/b/../a/"]})


@pytest.mark.parametrize(
    "words",
    [
        {"uts": "host", "hostname": "mine"},
        {"uts": "host", "sysctl": ["kernel.domainname=x"]},
        {"network": "host", "sysctl": ["net.core.somaxconn=10"]},
        {"ipc": "host", "sysctl": ["kernel.shmmax=1"]},
    ],
)
def test_what_would_change_the_host_is_refused(words: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="conflicting settings"):
        read_settings(words)


def test_a_sysctl_of_another_namespace_does_not_conflict() -> None:
    assert read_settings({"network": "host", "sysctl": ["kernel.shmmax=1"]}).sysctls


def test_check_is_for_settings_made_by_hand_too() -> None:
    mount = Mount(type="tmpfs", target="/a")

    with pytest.raises(UsageError):
        check(Settings(mounts=(mount, mount)))


@pytest.mark.parametrize(("image", "rootfs"), [(None, None), ("busybox", "/srv")])
def test_a_root_is_an_image_or_a_directory(image: str | None, rootfs: str | None) -> None:
    with pytest.raises(UsageError):
        check_source(image, rootfs)


def test_settings_are_values() -> None:
    settings = read_settings({"volume": ["data:/data:ro"], "memory": "6m"})

    assert pickle.loads(pickle.dumps(settings)) == settings
    assert hash(settings) == hash(read_settings({"memory": "6m", "volume": ["data:/data:ro"]}))


def test_places_are_the_system_s_for_root_and_the_user_s_for_others() -> None:
    assert default_root({}, 0) == "/var/lib/newroot"
    assert default_run_root({}, 0, "/var/lib/newroot") == "/run/newroot"
    assert default_root({"HOME": "/home/me"}, 1000) == "/home/me/.local/share/newroot"
    assert default_root({"XDG_DATA_HOME": "/d"}, 1000) == "/d/newroot"
    assert default_root({"XDG_DATA_HOME": "rel", "HOME": "/h"}, 1000) == "/h/.local/share/newroot"
    assert default_root({"NEWROOT_ROOT": "/n"}, 0) == "/n"


def test_a_user_without_a_session_has_the_state_below_the_root() -> None:
    uid = 2**31 - 2

    assert default_run_root({}, uid, "/home/me/newroot") == "/home/me/newroot/run"
    assert default_run_root({"XDG_RUNTIME_DIR": "/proc/1/no"}, uid, "/r") == "/r/run"
    home = {"HOME": "/home/me", "XDG_RUNTIME_DIR": "/tmp"}
    assert default_run_root(home, uid, default_root(home, uid)) == "/tmp/newroot"


def test_a_root_that_was_chosen_has_its_state_within() -> None:
    # What a killed newroot left of one root, a command for another one cannot clean up.
    assert default_run_root({}, 0, "/x") == "/x/run"
    assert default_run_root({"NEWROOT_ROOT": "/x"}, 0, "/x") == "/x/run"
    assert default_run_root({"NEWROOT_RUN_ROOT": "/y"}, 0, "/x") == "/y"


@pytest.mark.parametrize("field", ["network", "pid", "ipc", "cgroupns"])
def test_a_user_namespace_goes_with_no_namespace_of_the_host_s(field: str) -> None:
    with pytest.raises(UsageError, match=f"userns=private and {field}=host"):
        check(Settings(userns="private", **{field: "host"}))


def test_a_user_namespace_has_no_privileges_to_give() -> None:
    with pytest.raises(UsageError, match="userns=private and privileged"):
        check(Settings(userns="private", privileged=True))
