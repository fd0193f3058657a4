"""What of tests/root and its like an ordinary user cannot do, each with the reason.

``scripts/test --as-user`` runs all else as root of a user's namespace.  A row is the beginning of a
test's id; one that no test has is an error, so that the table tells no tales.
"""

#: FILES tests/root/test_run_command.py tests/root/test_containers.py tests/root/test_commit.py
#: FILES tests/root/test_engine_run.py tests/root/test_detached.py tests/root/test_exec.py
#: FILES tests/root/test_logs.py tests/root/test_process.py tests/root/test_terminal.py
#: FILES tests/root/test_mount_targets.py tests/root/test_copy.py tests/escape

from __future__ import annotations

CGROUPS = "no part of the cgroup tree is the user's"
DEVICES = "device nodes are made, or open, for root alone"
HIGH_IDS = "ids that the user has not got"
MOUNTS = "mounts of disks and file systems that a user namespace may not mount"
NETWORK = "interfaces of the host's network namespace"
TRUSTED = "attributes in trusted.*, for root alone"
SCRIPT = "the script writes /proc/sys/kernel/hostname, which is the host root's"

ROWS: dict[str, str] = {}
