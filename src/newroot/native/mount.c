/* mount.c: file systems, binds and their attributes, each made detached and then put
 * in its place by descriptor (fsopen(2), open_tree(2), move_mount(2), mount_setattr(2)). */

#include "steps.h"

#include "copy.h"
#include "path.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/stat.h>

#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
#ifndef MS_RDONLY
#define MS_RDONLY 1
#define MS_MOVE 8192
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* The kernel's own words about a failed fsconfig or fsmount, oldest first. */
static void
read_kernel_log (struct run *run, int context)
{
  size_t used = length_of (run->log);
  while (used + 2 < sizeof run->log)
    {
      long n = sys (__NR_read, context, run->log + used, sizeof run->log - used - 2);
      if (n <= 0)
        break;
      used += (size_t)n;
      run->log[used++] = '\n';
    }
  run->log[used] = 0;
}

static int
set_option (struct run *run, int context, char *option)
{
  char *value = option;
  while (*value != 0 && *value != '=')
    value++;
  if (*value == 0)
    return (int)attempt (run, __NR_fsconfig, context, FSCONFIG_SET_FLAG, option, NULL, 0);
  *value = 0;
  int done = (int)attempt (run, __NR_fsconfig, context, FSCONFIG_SET_STRING, option, value + 1, 0);
  *value = '=';
  return done;
}

static int
set_options (struct run *run, int context, char **options)
{
  int done = 0;
  for (; done >= 0 && *options != NULL; options++)
    done = set_option (run, context, *options);
  return done;
}

/* A new file system, mounted but not yet anywhere. */
static int
new_mount (struct run *run, const char *type, char **options, uint64_t attributes)
{
  int context CLEANUP_FD = (int)attempt (run, __NR_fsopen, type, FSOPEN_CLOEXEC);
  if (context < 0)
    return context;
  long done = set_options (run, context, options);
  if (done >= 0)
    done = attempt (run, __NR_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  if (done >= 0)
    done = attempt (run, __NR_fsmount, context, FSMOUNT_CLOEXEC, attributes);
  if (done < 0)
    read_kernel_log (run, context);
  return (int)done;
}

/* What a config mounts does not hide what the kernel says of processes, wherever in the root the
 * name led: CVE-2019-16884. */
static int
may_cover (const struct step *step, int target)
{
  return step->flags & IN_PROC || !is_on (target, PROC_SUPER_MAGIC);
}

static int
put (struct run *run, int mount, int target)
{
  return (int)attempt (run, __NR_move_mount, mount, "", target, "",
                       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static int
change_mount (struct run *run, int mount, struct mount_attr change, int recursive)
{
  if (!change.attr_set && !change.attr_clr && !change.propagation)
    return 0;
  unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  return (int)attempt (run, __NR_mount_setattr, mount, "", flags, &change, sizeof change);
}

/* x: attributes to set, y: to clear, z: propagation.  Each may be for this mount alone or
 * for those below it too. */
static int
set_attributes (struct run *run, int mount, const struct step *step)
{
  int done
      = change_mount (run, mount, (struct mount_attr){ .attr_set = step->x, .attr_clr = step->y },
                      step->flags & ATTR_RECURSIVE);
  if (done < 0)
    return done;
  return change_mount (run, mount, (struct mount_attr){ .propagation = step->z },
                       step->flags & PROPAGATION_RECURSIVE);
}

/* Whoever mounts over a directory of the image means one that is as open to others. */
static void
take_mode (struct run *run, const struct step *step, char **options)
{
  struct statx stat;
  int there CLEANUP_FD = open_target (run, step, text_of (step, step->b), NO_KIND);
  if (there < 0 || sys (__NR_statx, there, "", AT_EMPTY_PATH, STATX_MODE, &stat) < 0)
    return;
  while (options[1] != NULL)
    options++;
  for (size_t n = length_of (*options); n-- > 5; stat.stx_mode >>= 3)
    (*options)[n] = (char)('0' + (stat.stx_mode & 7));
}

/* Nobody sees it half filled, and what is to be read-only is so when all is there. */
static int
copy_up (struct run *run, const struct step *step, int mount, int target)
{
  int from CLEANUP_FD
      = (int)attempt (run, __NR_openat, target, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (from < 0)
    return from;
  int done = copy_directory (run, from, mount, DEEPEST_COPY);
  if (done < 0)
    return done;
  return change_mount (run, mount, (struct mount_attr){ .attr_set = step->x & MOUNT_ATTR_RDONLY },
                       0);
}

/* a: type, b: target, c: options (source among them); x: MOUNT_ATTR_*. */
int
step_mount_fs (struct run *run, struct step *step)
{
  char **options = list_of (step, step->c);
  if (options == NULL)
    return -EINVAL;
  if (step->flags & LIKE_TARGET)
    take_mode (run, step, options);
  int target CLEANUP_FD = open_target (run, step, text_of (step, step->b), DIRECTORY);
  if (target < 0)
    return target;
  if (!may_cover (step, target))
    return -EXDEV;
  int copies = step->flags & COPY_UP;
  uint64_t first = copies ? step->x & ~(uint64_t)MOUNT_ATTR_RDONLY : step->x;
  int mount CLEANUP_FD = new_mount (run, text_of (step, step->a), options, first);
  if (mount < 0)
    return mount;
  int done = copies ? copy_up (run, step, mount, target) : 0;
  return done < 0 ? done : put (run, mount, target);
}

/* Before Linux 6.5 overlay's options were read when all were there: fsconfig(2) takes any, and
 * only the mount is refused.  Such a context knows no descriptors, and says so before it looks
 * at ours, which is none: fs/fsopen.c. */
static int
takes_any_option (int context)
{
  return sys (__NR_fsconfig, context, FSCONFIG_SET_FD, "lowerdir+", NULL, 0x7fffffff)
         == -EOPNOTSUPP;
}

/* a: target, b: all options with one lowerdir+ a layer, c: the same for mount(2), or
 * none when they exceed its one page; x: MOUNT_ATTR_*.
 * FSCONFIG_SET_STRING takes 256 bytes, so b is empty when a path is longer; and Linux
 * < 6.7 has no lowerdir+ and says EINVAL to the first.  mount(2) takes a page in all. */
int
step_mount_overlay (struct run *run, struct step *step)
{
  char **options = list_of (step, step->b);
  if (options == NULL)
    return -EINVAL;
  int target CLEANUP_FD = open_target (run, step, text_of (step, step->a), DIRECTORY);
  if (target < 0)
    return target;

  int context CLEANUP_FD = (int)attempt (run, __NR_fsopen, "overlay", FSOPEN_CLOEXEC);
  if (context < 0)
    return context;
  long done = options[0] == NULL ? -ENAMETOOLONG : -EINVAL;
  if (done == -EINVAL && !takes_any_option (context))
    done = set_option (run, context, options[0]);
  if (step->c != 0 && (done == -ENAMETOOLONG || done == -EINVAL))
    return (int)attempt (run, __NR_mount, "overlay", text_of (step, step->a), "overlay", step->y,
                         text_of (step, step->c));

  int mount CLEANUP_FD = -1;
  if (done >= 0)
    done = set_options (run, context, options + 1);
  if (done >= 0)
    done = attempt (run, __NR_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  if (done >= 0)
    done = mount = (int)attempt (run, __NR_fsmount, context, FSMOUNT_CLOEXEC, step->x);
  if (done < 0)
    read_kernel_log (run, context);
  return done < 0 ? (int)done : put (run, mount, target);
}

static int
kind_of (int fd, enum kind *kind)
{
  struct statx stat;
  long done = sys (__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &stat);
  *kind = (stat.stx_mode & S_IFMT) == S_IFDIR ? DIRECTORY : FILE;
  return (int)done;
}

static int
clone_of_source (struct run *run, const struct step *step)
{
  unsigned flags
      = OPEN_TREE_CLOEXEC | OPEN_TREE_CLONE | (step->flags & RECURSIVE ? AT_RECURSIVE : 0);
  return (int)attempt (run, __NR_open_tree, AT_FDCWD, text_of (step, step->a), flags);
}

/* a: source on the host; x: the place to hold it in.  A clone that is taken before our
 * mounts become slaves of the host's goes on being their peer: mount_namespaces(7). */
int
step_hold_tree (struct run *run, struct step *step)
{
  if (step->x >= MAX_TREES)
    return -EINVAL;
  int mount = clone_of_source (run, step);
  if (mount >= 0)
    run->trees[step->x] = mount;
  return mount < 0 ? mount : 0;
}

static int
held_tree (struct run *run, uint32_t place)
{
  if (place > MAX_TREES || run->trees[place - 1] == 0)
    return -EBADF;
  return keep_fd (&run->trees[place - 1]);
}

/* The file of a user namespace: what is owned by an id inside of it is so on the disk. */
static int
map_ids_of (struct run *run, int mount, const struct step *step, const char *path)
{
  int space CLEANUP_FD = (int)attempt (run, __NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (space < 0)
    return space;
  struct mount_attr change = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)space };
  return change_mount (run, mount, change, step->flags & IDMAP_RECURSIVE);
}

/* Three numbers at an offset: attributes to set and to clear, on the mounts below too; and
 * the offset of a user namespace's path, or 0. */
static int
set_more (struct run *run, int mount, const struct step *step, uint32_t offset)
{
  uint64_t more[3];
  if (offset == 0)
    return 0;
  if (step->size - offset < sizeof more)
    return -EINVAL;
  memcpy (more, text_of (step, offset), sizeof more);
  if (more[2] >= step->size)
    return -EINVAL;
  int done = change_mount (run, mount,
                           (struct mount_attr){ .attr_set = more[0], .attr_clr = more[1] }, 1);
  if (done < 0 || more[2] == 0)
    return done;
  return map_ids_of (run, mount, step, text_of (step, (uint32_t)more[2]));
}

/* a: source on the host, b: target; x, y: attributes set and cleared, z: propagation;
 * c: what set_more() reads; d: 1 + the place of a held tree, which is then the source.  The target
 * is made after the source's kind.  All attributes are set before it is looked up, for by a second
 * look another container may have put a symlink there (CVE-2021-30465). */
int
step_bind_mount (struct run *run, struct step *step)
{
  int mount CLEANUP_FD = step->d != 0 ? held_tree (run, step->d) : clone_of_source (run, step);
  if (mount < 0)
    return mount;
  enum kind kind;
  int done = kind_of (mount, &kind);
  if (done < 0)
    return done;
  int target CLEANUP_FD = open_target (run, step, text_of (step, step->b), kind);
  if (target < 0)
    return target;
  if (!may_cover (step, target) || (step->flags & PROC_SOURCE && !is_on (mount, PROC_SUPER_MAGIC)))
    return -EXDEV;
  done = set_attributes (run, mount, step);
  if (done >= 0)
    done = set_more (run, mount, step, step->c);
  return done < 0 ? done : put (run, mount, target);
}

/* a: target, which is a mount; x, y, z as above. */
int
step_set_attr (struct run *run, struct step *step)
{
  int target CLEANUP_FD = open_target (run, step, text_of (step, step->a), NO_KIND);
  if (target == -ENOENT && step->flags & IF_PRESENT)
    return 0;
  return target < 0 ? target : set_attributes (run, target, step);
}

static int
clone_of (struct run *run, int fd, unsigned flags)
{
  return (int)attempt (run, __NR_open_tree, fd, "",
                       OPEN_TREE_CLOEXEC | OPEN_TREE_CLONE | AT_EMPTY_PATH | flags);
}

/* The one thing that a masked file may show.  CVE-2025-31133: a container's own
 * /dev/null could be a symlink to what should be masked, so it is the host's, and its
 * device number is looked at. */
static int
clone_of_null (struct run *run)
{
  if (run->null < 0)
    {
      struct statx stat;
      run->null = (int)attempt (run, __NR_openat, AT_FDCWD, "/dev/null", O_PATH | O_CLOEXEC);
      if (run->null < 0)
        return run->null;
      long done = attempt (run, __NR_statx, run->null, "", AT_EMPTY_PATH, STATX_TYPE, &stat);
      if (done < 0)
        return (int)done;
      if ((stat.stx_mode & S_IFMT) != S_IFCHR || stat.stx_rdev_major != 1
          || stat.stx_rdev_minor != 3)
        return -ENODEV;
    }
  int mount = clone_of (run, run->null, 0);
  if (mount < 0)
    return mount;
  /* It is the host's node: a chmod of what is masked would be one of the host's /dev/null. */
  int done = change_mount (run, mount, (struct mount_attr){ .attr_set = MOUNT_ATTR_RDONLY }, 0);
  if (done < 0)
    close_fd (&mount);
  return done < 0 ? done : mount;
}

/* An empty read-only directory; made once, cloned for every further mask, which the
 * kernel allows as soon as the first is in its place. */
static int
clone_of_empty (struct run *run)
{
  char *options[]
      = { (char[]){ "source=tmpfs" }, (char[]){ "nr_inodes=1" }, (char[]){ "ro" }, NULL };
  if (run->empty >= 0)
    return clone_of (run, run->empty, 0);
  int mount = new_mount (run, "tmpfs", options, MOUNT_ATTR_RDONLY);
  if (mount >= 0)
    run->empty = (int)sys (__NR_fcntl, mount, F_DUPFD_CLOEXEC, 0);
  return mount;
}

/* a: target, a file or a directory; nothing to mask is no error. */
int
step_mask (struct run *run, struct step *step)
{
  int target CLEANUP_FD = open_target (run, step, text_of (step, step->a), NO_KIND);
  if (target == -ENOENT || target == -ENOTDIR)
    return 0;
  if (target < 0)
    return target;
  enum kind kind;
  int done = kind_of (target, &kind);
  if (done < 0)
    return done;
  int mount CLEANUP_FD = kind == DIRECTORY ? clone_of_empty (run) : clone_of_null (run);
  return mount < 0 ? mount : put (run, mount, target);
}

/* a: target: bound on itself, read-only with all below it; nothing there is no error. */
int
step_make_readonly (struct run *run, struct step *step)
{
  int target CLEANUP_FD = open_target (run, step, text_of (step, step->a), NO_KIND);
  if (target == -ENOENT || target == -ENOTDIR)
    return 0;
  if (target < 0)
    return target;
  int mount CLEANUP_FD = clone_of (run, target, AT_RECURSIVE);
  if (mount < 0)
    return mount;
  int done = set_attributes (run, mount, step);
  return done < 0 ? done : put (run, mount, target);
}

/* a: the new root, a path of the host. */
int
step_use_root (struct run *run, struct step *step)
{
  run->root = (int)attempt (run, __NR_openat, AT_FDCWD, text_of (step, step->a),
                            O_PATH | O_DIRECTORY | O_CLOEXEC);
  return run->root < 0 ? run->root : 0;
}

static int
enter_root (struct run *run)
{
  return run->root < 0 ? -EBADF : (int)attempt (run, __NR_fchdir, run->root);
}

/* pivot_root(".", ".") stacks the old root on the new one, so that the image needs no
 * put_old directory and may be read-only: pivot_root(2), NOTES. */
int
step_pivot_root (struct run *run, struct step *step)
{
  (void)step;
  int done = enter_root (run);
  return done < 0 ? done : (int)attempt (run, __NR_pivot_root, ".", ".");
}

/* For a root that is an initramfs, which pivot_root refuses: pivot_root(2), NOTES. */
int
step_move_root (struct run *run, struct step *step)
{
  (void)step;
  long done = enter_root (run);
  if (done >= 0)
    done = attempt (run, __NR_mount, ".", "/", NULL, MS_MOVE, NULL);
  if (done >= 0)
    done = attempt (run, __NR_chroot, ".");
  return done < 0 ? (int)done : (int)attempt (run, __NR_chdir, "/");
}

int
step_chroot (struct run *run, struct step *step)
{
  (void)step;
  long done = enter_root (run);
  if (done >= 0)
    done = attempt (run, __NR_chroot, ".");
  return done < 0 ? (int)done : (int)attempt (run, __NR_chdir, "/");
}

/* "." is the old root here, on top of the new one. */
int
step_detach_old_root (struct run *run, struct step *step)
{
  (void)step;
  long done = attempt (run, __NR_umount2, ".", MNT_DETACH);
  return done < 0 ? (int)done : (int)attempt (run, __NR_chdir, "/");
}
