/* steps.c: a plan is carried out, one step after the other, until exec or a failure.
 *
 * This runs between clone and exec: no malloc, no stdio, no locks, no words. */

#include "steps.h"

#include "packet.h"

#include <linux/close_range.h>

typedef int step_function (struct run *run, struct step *step);

static step_function *const functions[STEP_COUNT] = {
  [STEP_UNSHARE] = step_unshare,
  [STEP_SET_NAMESPACE] = step_set_namespace,
  [STEP_MAP_IDS] = step_map_ids,
  [STEP_WAIT] = step_wait,
  [STEP_DIE_WITH_PARENT] = step_die_with_parent,
  [STEP_NEW_SESSION] = step_new_session,
  [STEP_JOIN_CGROUP] = step_join_cgroup,
  [STEP_SET_PROPAGATION] = step_set_attr,
  [STEP_MAKE_DIR] = step_make_dir,
  [STEP_WRITE_FILE] = step_write_file,
  [STEP_MOUNT_FS] = step_mount_fs,
  [STEP_MOUNT_OVERLAY] = step_mount_overlay,
  [STEP_BIND_MOUNT] = step_bind_mount,
  [STEP_USE_ROOT] = step_use_root,
  [STEP_SET_ATTR] = step_set_attr,
  [STEP_MAKE_NODE] = step_make_node,
  [STEP_MAKE_SYMLINK] = step_make_symlink,
  [STEP_MASK] = step_mask,
  [STEP_MAKE_READONLY] = step_make_readonly,
  [STEP_OPEN_TERMINAL] = step_open_terminal,
  [STEP_SET_SYSCTL] = step_set_proc,
  [STEP_SET_HOSTNAME] = step_set_hostname,
  [STEP_SET_DOMAINNAME] = step_set_domainname,
  [STEP_LINK_UP] = step_link_up,
  [STEP_PIVOT_ROOT] = step_pivot_root,
  [STEP_MOVE_ROOT] = step_move_root,
  [STEP_CHROOT] = step_chroot,
  [STEP_DETACH_OLD_ROOT] = step_detach_old_root,
  [STEP_SET_OOM_SCORE] = step_set_proc,
  [STEP_SET_RLIMIT] = step_set_rlimit,
  [STEP_SET_BOUNDING] = step_set_bounding,
  [STEP_SET_USER] = step_set_user,
  [STEP_SET_CAPABILITIES] = step_set_capabilities,
  [STEP_SET_NO_NEW_PRIVS] = step_set_no_new_privs,
  [STEP_LOAD_SECCOMP] = step_load_seccomp,
  [STEP_SET_CWD] = step_set_cwd,
  [STEP_REAP] = step_reap,
  [STEP_EXEC] = step_exec,
  [STEP_HOLD_TREE] = step_hold_tree,
  [STEP_SET_LABEL] = step_set_proc,
  [STEP_SET_CLOCKS] = step_set_proc,
  [STEP_SET_SCHEDULER] = step_set_scheduler,
  [STEP_SET_AFFINITY] = step_set_affinity,
  [STEP_SET_IO_PRIORITY] = step_set_io_priority,
  [STEP_SET_MEMORY_POLICY] = step_set_memory_policy,
  [STEP_SET_PERSONALITY] = step_set_personality,
  [STEP_MOVE_INTERFACES] = step_move_interfaces,
  [STEP_RUN_HOOK] = step_run_hook,
  [STEP_JOIN_PROCESS] = step_join_process,
  [STEP_BIRTH] = step_birth,
  [STEP_AWAIT_START] = step_await_start,
  [STEP_NEW_KEYRING] = step_new_keyring,
};

/* What each step took, in nanoseconds; behind a struct report on the wire. */
static struct
{
  struct report head;
  uint64_t ns[MAX_STEPS];
} times;

static uint64_t
now_ns (void)
{
  struct
  {
    int64_t s, ns;
  } now;
  enum
  {
    MONOTONIC = 1
  };
  sys (__NR_clock_gettime, MONOTONIC, &now);
  return (uint64_t)now.s * 1000000000u + (uint64_t)now.ns;
}

void
send_report (const struct run *run, uint32_t kind, int error)
{
  struct report report = { .kind = kind, .index = run->index, .error = error, .call = run->call };
  memcpy (report.log, run->log, sizeof report.log);
  send_packet (run->report, &report, sizeof report, NULL, 0);
}

/* The exec itself cannot report after it succeeded, so the times go out before it. */
static void
send_times (const struct run *run)
{
  times.head = (struct report){ .kind = REPORT_TIMES, .index = run->plan->count };
  size_t size = sizeof times.head + run->plan->count * sizeof times.ns[0];
  send_packet (run->report, &times, size, NULL, 0);
}

long
close_what_is_ours (struct run *run)
{
  if (run->closed)
    return 0;
  run->closed = 1;
  return attempt (run, __NR_close_range, 3 + run->passed, ~0U, CLOSE_RANGE_CLOEXEC);
}

static int
run_step (struct run *run, struct step *step)
{
  if (!(run->flags & WANT_TIMES))
    return functions[step->op](run, step);
  if (step->op == STEP_EXEC)
    send_times (run);
  uint64_t start = now_ns ();
  int done = functions[step->op](run, step);
  times.ns[run->index] = now_ns () - start;
  return done;
}

_Noreturn void
run_plan (struct run *run)
{
  sys (__NR_umask, 0); /* a plan says modes as it means them */
  struct step *step = plan_first (run->plan);
  for (; run->index < run->plan->count; run->index++, step = plan_next (step))
    {
      int done = run_step (run, step);
      if (done < 0)
        {
          send_report (run, REPORT_FAILED, -done);
          break;
        }
    }
  for (;;)
    sys (__NR_exit_group, 127);
}
