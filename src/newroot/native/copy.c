/* copy.c: tmpcopyup: a tmpfs begins with what the image has at its place.  The tree is the image's,
 * so nothing is followed, and a kind that changes between two looks is an error at worst. */

#include "copy.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define PATH_MAX 4096
#define PIECE 0x7ffff000 /* the most that one sendfile(2) moves */

struct entry /* struct linux_dirent64: getdents64(2) */
{
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[];
};

static int
copy_bytes (struct run *run, int from, int to)
{
  long moved;
  do
    moved = attempt (run, __NR_sendfile, to, from, NULL, PIECE);
  while (moved > 0);
  return (int)moved;
}

/* A file that became a fifo since does not hold us up: it is opened with O_NONBLOCK. */
static int
copy_file (struct run *run, int from, int to, const char *name)
{
  int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  int in CLEANUP_FD = (int)attempt (run, __NR_openat, from, name, O_RDONLY | flags);
  if (in < 0)
    return in;
  int made = O_WRONLY | O_CREAT | O_EXCL;
  int out CLEANUP_FD = (int)attempt (run, __NR_openat, to, name, made | flags, 0600);
  return out < 0 ? out : copy_bytes (run, in, out);
}

__attribute__ ((noinline)) static int
copy_link (struct run *run, int from, int to, const char *name)
{
  char text[PATH_MAX];
  long n = attempt (run, __NR_readlinkat, from, name, text, sizeof text - 1);
  if (n < 0)
    return (int)n;
  text[n] = 0;
  return (int)attempt (run, __NR_symlinkat, text, to, name);
}

static int
copy_below (struct run *run, int from, int to, const char *name, int depth)
{
  int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if (depth == 0)
    return -ELOOP;
  int in CLEANUP_FD = (int)attempt (run, __NR_openat, from, name, flags);
  if (in < 0)
    return in;
  long done = attempt (run, __NR_mkdirat, to, name, 0700);
  if (done < 0)
    return (int)done;
  int out CLEANUP_FD = (int)attempt (run, __NR_openat, to, name, flags);
  return out < 0 ? out : copy_directory (run, in, out, depth - 1);
}

/* As the kernel's new_encode_dev() packs it: linux/kdev_t.h. */
static uint64_t
device_of (const struct statx *stat)
{
  uint64_t minor = stat->stx_rdev_minor;
  return (minor & 0xff) | (uint64_t)stat->stx_rdev_major << 8 | (minor & ~0xffULL) << 12;
}

static int
make_copy (struct run *run, int from, int to, const char *name, const struct statx *stat, int depth)
{
  switch (stat->stx_mode & S_IFMT)
    {
    case S_IFREG:
      return copy_file (run, from, to, name);
    case S_IFDIR:
      return copy_below (run, from, to, name, depth);
    case S_IFLNK:
      return copy_link (run, from, to, name);
    default:
      return (int)attempt (run, __NR_mknodat, to, name, stat->stx_mode, device_of (stat));
    }
}

static int
copy_entry (struct run *run, int from, int to, const char *name, int depth)
{
  struct statx stat;
  long done = attempt (run, __NR_statx, from, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stat);
  if (done < 0 || (stat.stx_mode & S_IFMT) == S_IFSOCK)
    return (int)done;
  done = make_copy (run, from, to, name, &stat, depth);
  if (done >= 0)
    done = attempt (run, __NR_fchownat, to, name, stat.stx_uid, stat.stx_gid, AT_SYMLINK_NOFOLLOW);
  /* After the owner, for chown takes the bits of set-user-ID away; and a link has no mode. */
  if (done >= 0 && (stat.stx_mode & S_IFMT) != S_IFLNK)
    done = attempt (run, __NR_fchmodat, to, name, stat.stx_mode & 07777);
  return (int)done;
}

int
copy_directory (struct run *run, int from, int to, int depth)
{
  char entries[1024] __attribute__ ((aligned (8)));
  long n;
  while ((n = attempt (run, __NR_getdents64, from, entries, sizeof entries)) > 0)
    for (long at = 0; at < n;)
      {
        const struct entry *entry = (const struct entry *)(entries + at);
        at += entry->size;
        if (same (entry->name, ".") || same (entry->name, ".."))
          continue;
        int done = copy_entry (run, from, to, entry->name, depth);
        if (done < 0)
          return done;
      }
  return (int)n;
}
