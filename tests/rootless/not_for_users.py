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
OWNERS = "the host's files are another's, guard or no guard"
DEVICES = "device nodes are made, or open, for root alone"

ROWS: dict[str, str] = {
    "root/test_run_command.py::test_limits_are_in_force": CGROUPS,
    "root/test_run_command.py::test_cpus_are_throttled": CGROUPS,
    "root/test_commit.py::test_a_container_becomes_an_image_that_runs_with_its_changes": DEVICES,
    "root/test_commit.py::test_a_container_that_runs_is_frozen_and_goes_on": CGROUPS,
    "root/test_engine_run.py::test_memory_that_is_used_up_is_told_from_the_kernel_s_count": CGROUPS,
    "root/test_engine_run.py::test_a_step_that_fails_leaves_nothing": CGROUPS,
    "root/test_detached.py::test_what_used_too_much_memory_is_said_to_have": CGROUPS,
    "root/test_detached.py::test_no_cgroup_and_no_run_directory_stay": CGROUPS,
    "escape/test_cve_2016_9962_open_descriptors.py::"
    "test_a_command_has_what_it_was_given_and_no_more[volumes-tmpfs-memory-device]": CGROUPS,
    "escape/test_cve_2023_25809_cgroups.py": CGROUPS,
    "escape/test_device_nodes.py::test_without_the_guard_a_mask_lets_the_host_be_changed": OWNERS,
    "root/test_copy.py::test_a_device_comes_along_only_when_archived": DEVICES,
}
