"""Runtimes to compare, and hosts to compare them on; images of others, and their stores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from differential.comparison import Comparison
from differential.views import PURE_CGROUP2, Host, Kit, Runtime, remove_cgroups
from pictures.trees import fill_first, fill_second, fill_third, run, tree

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def kit() -> Iterator[Kit]:
    """The program that looks, and a root with it.

    Not below tmp_path: nobody but root may go there, and a user namespace's root is nobody.
    """
    with tempfile.TemporaryDirectory(prefix="newroot-test-peers-") as directory:
        os.chmod(directory, 0o755)
        yield Kit(Path(directory))
    remove_cgroups(f"newroot-test-{os.getpid()}")


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The machine's own mounts and cgroups, in namespaces of the tests' own."""
    host = Host()
    yield host
    host.close()


@pytest.fixture(scope="session")
def pure_host() -> Iterator[Host]:
    """A host with cgroup v2 alone."""
    host = Host(*PURE_CGROUP2)
    yield host
    host.close()


@pytest.fixture(scope="session")
def newroot_oci() -> Runtime:
    """Ours, as it was installed; NEWROOT_TEST_OCI=runc says what another makes of the tests."""
    command = os.path.join(sysconfig.get_path("scripts"), "newroot-oci")
    command = shutil.which(os.environ.get("NEWROOT_TEST_OCI", command)) or command
    if not os.access(command, os.X_OK):
        pytest.fail(f"{command} is missing: make install, or make dev")
    return Runtime("newroot-oci", (command,))


@pytest.fixture(scope="session")
def runc() -> Runtime:
    """Debian's runc."""
    return Runtime("runc", ("runc",))


@pytest.fixture(scope="session")
def crun(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Debian's crun, with a library before it that lets it live without CAP_SYS_RESOURCE."""
    shim = tmp_path_factory.mktemp("crun") / "memlock_shim.so"
    source = HERE.parent.parent / "bench/memlock_shim.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    return Runtime("crun", ("crun",), {"LD_PRELOAD": str(shim)})


@pytest.fixture(scope="session")
def comparison(
    kit: Kit, host: Host, pure_host: Host, newroot_oci: Runtime, runc: Runtime, crun: Runtime
) -> Comparison:
    """Ours beside runc, and beside crun where there is cgroup v2 alone, as crun 1.8 wants it."""
    return Comparison(kit, newroot_oci, {"runc": (runc, host), "crun": (crun, pure_host)})


# ── images ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout of three layers, made by umoci, tagged ``it``."""
    directory = tmp_path_factory.mktemp("umoci")
    layout = directory / "layout"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:it")
    for number, fill in enumerate((fill_first, fill_second, fill_third)):
        bundle = directory / f"bundle{number}"
        run("umoci", "unpack", "--image", f"{layout}:it", bundle)
        fill(bundle / "rootfs")
        run("umoci", "repack", "--image", f"{layout}:it", bundle)
    run("umoci", "config", "--image", f"{layout}:it", "--config.cmd", "sh")
    return layout


@pytest.fixture(scope="session")
def expected(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    bundle = tmp_path_factory.mktemp("expected") / "bundle"
    run("umoci", "unpack", "--image", f"{layout}:it", bundle)
    return tree(bundle / "rootfs")


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """podman's and buildah's global options for stores of their own."""
    policy = tmp_path / "containers.conf"
    policy.write_text(
        '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=1000:1000"]\n'
        '[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
    )
    monkeypatch.setenv("CONTAINERS_CONF", str(policy))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    # podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="nr-", dir="/tmp") as short:
        yield ["--root", f"{tmp_path}/s", "--runroot", f"{short}/r", "--storage-driver", "vfs"]
