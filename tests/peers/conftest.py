"""Runtimes to compare, and hosts to compare them on, for the differential tests."""

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
