/* identity.c: who the command will be and what it may do.  The order of these steps is
 * the plan's business: capabilities(7), credentials(7), seccomp(2). */

#include "steps.h"

#include <linux/bpf_common.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/limits.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

/* x: resource; y: soft; z: hard. */
int
step_set_rlimit (struct run *run, struct step *step)
{
  struct
  {
    uint64_t soft, hard;
  } limit = { step->y, step->z };
  return (int)attempt (run, __NR_prlimit64, 0, step->x, &limit, NULL);
}

/* x: the capabilities that stay in the bounding set.  The kernel says EINVAL to the
 * first number that it does not know. */
int
step_set_bounding (struct run *run, struct step *step)
{
  for (int cap = 0; cap < 64; cap++)
    {
      if (step->x >> cap & 1)
        continue;
      long done = sys (__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
      if (done == -EINVAL)
        return 0;
      if (done < 0)
        return (int)note (run, __NR_prctl, done);
    }
  return 0;
}

/* x: uid; y: gid; z: umask; a: the supplementary groups, as uint32_t; d: how many.
 * Capabilities are kept across the change for SetCapabilities to trim. */
int
step_set_user (struct run *run, struct step *step)
{
  if (step->d != 0 && (step->a == 0 || step->d > (step->size - step->a) / sizeof (uint32_t)))
    return -EINVAL;
  long done = attempt (run, __NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
  if (done >= 0 && !(step->flags & KEEP_GROUPS))
    done = attempt (run, __NR_setgroups, step->d, text_of (step, step->a));
  if (done >= 0)
    done = attempt (run, __NR_setresgid, step->y, step->y, step->y);
  if (done >= 0)
    done = attempt (run, __NR_setresuid, step->x, step->x, step->x);
  if (done >= 0)
    sys (__NR_umask, step->z);
  /* With fs.suid_dumpable=1 a change of ids makes dumpable: proc_sys_fs(5). */
  sys (__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  return done < 0 ? (int)done : 0;
}

static int
raise_ambient (struct run *run, uint64_t ambient)
{
  long done = attempt (run, __NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int cap = 0; done >= 0 && cap < 64; cap++)
    if (ambient >> cap & 1)
      done = attempt (run, __NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
  return (int)done;
}

/* x: effective; y: permitted; z: inheritable; a: ambient, eight bytes, or none: as it is. */
int
step_set_capabilities (struct run *run, struct step *step)
{
  struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
  struct __user_cap_data_struct sets[2]
      = { { (uint32_t)step->x, (uint32_t)step->y, (uint32_t)step->z },
          { (uint32_t)(step->x >> 32), (uint32_t)(step->y >> 32), (uint32_t)(step->z >> 32) } };
  uint64_t ambient;
  long done = attempt (run, __NR_capset, &head, sets);
  if (done < 0 || step->a == 0)
    return (int)done;
  if (step->size - step->a < sizeof ambient)
    return -EINVAL;
  memcpy (&ambient, text_of (step, step->a), sizeof ambient);
  return raise_ambient (run, ambient);
}

/* A session keyring of its own, in which nothing is of the caller's: keyctl(2).  a: its name,
 * or none; x: its permissions.  An outer filter may forbid keyrings, to the command as well then.
 */
int
step_new_keyring (struct run *run, struct step *step)
{
  long key = attempt (run, __NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, text_of (step, step->a));
  if (key == -ENOSYS || key == -EPERM)
    return 0;
  if (key < 0 || step->a == 0)
    return key < 0 ? (int)key : 0;
  long done = attempt (run, __NR_keyctl, KEYCTL_SETPERM, key, step->x);
  return done == -EACCES ? 0 : (int)done; /* an exec's: it is whose container it is to change */
}

int
step_set_no_new_privs (struct run *run, struct step *step)
{
  (void)step;
  return (int)attempt (run, __NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* a: struct sock_filter[]; x: how many; y: SECCOMP_FILTER_FLAG_*. */
int
step_load_seccomp (struct run *run, struct step *step)
{
  struct sock_fprog program
      = { .len = (unsigned short)step->x, .filter = (void *)(uintptr_t)text_of (step, step->a) };
  if (step->a == 0 || step->x > BPF_MAXINSNS
      || step->x > (step->size - step->a) / sizeof (struct sock_filter))
    return -EINVAL;
  int done = (int)close_what_is_ours (run);
  if (done < 0)
    return done;
  done = (int)attempt (run, __NR_seccomp, SECCOMP_SET_MODE_FILTER, step->y, &program);
  /* A listener is left to exec to close: close(2) may be what is listened to. */
  return done > 0 ? ask_parent (run, done) : done;
}

/* a: a directory of the new root.  With IF_PRESENT, before the user changes: who may not go
 * there will try as the user, and who has gone is there. */
int
step_set_cwd (struct run *run, struct step *step)
{
  char place[PATH_MAX];
  if (run->is_there)
    return 0;
  long done = attempt (run, __NR_chdir, text_of (step, step->a));
  if (step->flags & IF_PRESENT)
    {
      run->is_there = done >= 0;
      done = done == -EACCES ? 0 : done;
    }
  /* A directory outside the root is "(unreachable)…": getcwd(2), CVE-2024-21626. */
  if (done >= 0 && sys (__NR_getcwd, place, sizeof place) >= 0 && place[0] != '/')
    return -EXDEV;
  return (int)done;
}
