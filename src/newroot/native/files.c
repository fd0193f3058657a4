/* files.c: directories, files, nodes and links that a plan makes or writes. */

#include "steps.h"

#include "path.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/stat.h>

static int
unless_there (const struct step *step, long result)
{
  return result == -EEXIST && step->flags & IF_PRESENT ? 0 : (int)result;
}

static int
write_all (struct run *run, int fd, const char *data, size_t size)
{
  for (size_t done = 0; done < size;)
    {
      long n = attempt (run, __NR_write, fd, data + done, size - done);
      if (n < 0)
        return (int)n;
      done += (size_t)n;
    }
  return 0;
}

/* a: target; x: mode.  With MAKE_TARGET, one that is there will do, and missing parents
 * are made. */
int
step_make_dir (struct run *run, struct step *step)
{
  if (step->flags & MAKE_TARGET)
    {
      int fd CLEANUP_FD = open_target (run, step, text_of (step, step->a), DIRECTORY);
      return fd < 0 ? fd : 0;
    }
  const char *name;
  int parent CLEANUP_FD = open_parent (run, step, text_of (step, step->a), &name);
  if (parent < 0)
    return parent;
  return (int)attempt (run, __NR_mkdirat, parent, name, step->x);
}

/* a: target, which must be new; b: its bytes; x: mode; y: how many bytes. */
int
step_write_file (struct run *run, struct step *step)
{
  const char *name;
  int parent CLEANUP_FD = open_parent (run, step, text_of (step, step->a), &name);
  if (parent < 0)
    return parent;
  if (step->b == 0 || step->y > step->size - step->b)
    return -EINVAL;
  int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  int fd CLEANUP_FD = (int)attempt (run, __NR_openat, parent, name, flags, step->x);
  return fd < 0 ? fd : write_all (run, fd, text_of (step, step->b), step->y);
}

/* Whether the file is the device that step_make_node() would have made. */
static int
is_that_node (int parent, const char *name, const struct step *step)
{
  struct statx stat;
  if (sys (__NR_statx, parent, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stat) < 0)
    return 0;
  uint64_t minor = stat.stx_rdev_minor;
  uint64_t device = (minor & 0xff) | (uint64_t)stat.stx_rdev_major << 8 | (minor & ~0xffULL) << 12;
  unsigned type = stat.stx_mode & S_IFMT;
  return type == (step->x & S_IFMT) && (type == S_IFIFO || device == step->y);
}

/* a: target; x: type and mode; y: device number; z: uid << 32 | gid. */
int
step_make_node (struct run *run, struct step *step)
{
  const char *name;
  int parent CLEANUP_FD = open_parent (run, step, text_of (step, step->a), &name);
  if (parent < 0)
    return parent;
  long done = attempt (run, __NR_mknodat, parent, name, step->x, step->y);
  if (done >= 0 && step->z != 0)
    done = attempt (run, __NR_fchownat, parent, name, step->z >> 32, step->z & 0xffffffff,
                    AT_SYMLINK_NOFOLLOW);
  if (done == -EEXIST && step->flags & SAME_NODE && !is_that_node (parent, name, step))
    return -EEXIST;
  return unless_there (step, done);
}

/* a: target; b: what the link says. */
int
step_make_symlink (struct run *run, struct step *step)
{
  const char *name;
  int parent CLEANUP_FD = open_parent (run, step, text_of (step, step->a), &name);
  if (parent < 0)
    return parent;
  return unless_there (step, attempt (run, __NR_symlinkat, text_of (step, step->b), parent, name));
}

/* A /proc of our own that nobody can have mounted anything on: what is under the
 * container's /proc may be a trap by now (CVE-2019-16884, CVE-2025-52881).  Its only
 * symlinks that are not magic are the kernel's own, self among them. */
static int
open_private_proc (struct run *run, const char *name)
{
  int context CLEANUP_FD = (int)attempt (run, __NR_fsopen, "proc", FSOPEN_CLOEXEC);
  if (context < 0)
    return context;
  long done = attempt (run, __NR_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  if (done < 0)
    return (int)done;
  int proc CLEANUP_FD = (int)attempt (run, __NR_fsmount, context, FSMOUNT_CLOEXEC, 0);
  if (proc < 0)
    return proc;
  struct open_how how = { .flags = O_WRONLY | O_CLOEXEC,
                          .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
  return (int)attempt (run, __NR_openat2, proc, name, &how, sizeof how);
}

static int
write_to_proc (struct run *run, const char *name, const char *value)
{
  int fd CLEANUP_FD = open_private_proc (run, name);
  return fd < 0 ? fd : write_all (run, fd, value, length_of (value));
}

/* a: the path below /proc: sys/… of a sysctl, self/… of what is the process's own;
 * b: the value. */
int
step_set_proc (struct run *run, struct step *step)
{
  return write_to_proc (run, text_of (step, step->a), text_of (step, step->b));
}

/* a: a cgroup.procs file of the host; "0" is the writer itself (cgroups(7)). */
int
step_join_cgroup (struct run *run, struct step *step)
{
  int fd CLEANUP_FD
      = (int)attempt (run, __NR_openat, AT_FDCWD, text_of (step, step->a), O_WRONLY | O_CLOEXEC);
  return fd < 0 ? fd : write_all (run, fd, "0", 1);
}
