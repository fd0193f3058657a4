/* path.c: every name below the new root is resolved by openat2(RESOLVE_IN_ROOT), so
 * neither "..", nor an absolute symlink, nor a race can lead out of it (openat2(2)). */

#include "path.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#define PATH_MAX 4096
#define DEEPEST 256 /* components to make and links to follow, together */
#define RACES 64    /* openat2 says EAGAIN when a rename elsewhere crossed its ".." */

static int
resolve (struct run *run, int root, const char *path, struct open_how how)
{
  long fd = -EAGAIN;
  for (int i = 0; i < RACES && fd == -EAGAIN; i++)
    fd = attempt (run, __NR_openat2, root, path, &how, sizeof how);
  return (int)fd;
}

int
open_in_root (struct run *run, const char *path)
{
  struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                          .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
  return resolve (run, run->root, path, how);
}

/* struct statfs differs between machines; only its first word matters here. */
int
is_on (int fd, long magic)
{
  long statfs[32] = { 0 };
  return sys (__NR_fstatfs, fd, statfs) == 0 && statfs[0] == magic;
}

/* Where nobody but us has put anything, on the host or at a place that may be no symlink. */
static int
open_place (struct run *run, const struct step *step, const char *path, int flags)
{
  if (step->flags & ON_HOST)
    return (int)attempt (run, __NR_openat, AT_FDCWD, path, flags | O_CLOEXEC);
  struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC),
                          .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
  if (step->flags & NO_SYMLINKS)
    how.resolve |= RESOLVE_NO_SYMLINKS;
  return resolve (run, run->root, path, how);
}

static int
make_one (struct run *run, int parent, const char *name, enum kind kind)
{
  long made = kind == FILE ? attempt (run, __NR_mknodat, parent, name, S_IFREG | 0755, 0)
                           : attempt (run, __NR_mkdirat, parent, name, 0755);
  return (int)made;
}

static int open_or_make (struct run *run, const struct step *step, char *path, enum kind kind,
                         int depth);

/* What a dangling symlink leads to is made where it leads, inside the root: an image's
 * /etc/resolv.conf may point into a /run that is filled when it boots. */
__attribute__ ((noinline)) static int
make_behind_link (struct run *run, const struct step *step, int parent, const char *path,
                  const char *name, enum kind kind, int depth)
{
  char target[PATH_MAX];
  size_t start = 0;
  char link[PATH_MAX];
  long n = sys (__NR_readlinkat, parent, name, link, sizeof link);
  if (n < 0)
    return -EEXIST; /* no link: somebody made it in this moment */
  if (link[0] != '/')
    start = (size_t)(name - path);
  if (start + (size_t)n >= sizeof target)
    return -ENAMETOOLONG;
  memcpy (target, path, start);
  memcpy (target + start, link, (size_t)n);
  target[start + (size_t)n] = 0;
  return open_or_make (run, step, target, kind, depth);
}

static int
make_in (struct run *run, const struct step *step, char *path, char *name, enum kind kind,
         int depth)
{
  char first = *name;
  *name = 0;
  int parent CLEANUP_FD = open_or_make (run, step, path, DIRECTORY, depth);
  *name = first;
  if (parent < 0)
    return parent;
  int made = make_one (run, parent, name, kind);
  if (made == -EEXIST)
    made = make_behind_link (run, step, parent, path, name, kind, depth);
  if (made > 0)
    return made;
  return made == 0 || made == -EEXIST ? open_place (run, step, path, O_PATH) : made;
}

/* Opens *path*, after making what is missing of it; *path* is as it was afterwards. */
static int
open_or_make (struct run *run, const struct step *step, char *path, enum kind kind, int depth)
{
  int fd = open_place (run, step, path, O_PATH);
  size_t n = length_of (path);
  while (n > 1 && path[n - 1] == '/')
    n--;
  if (fd != -ENOENT || n <= 1)
    return fd;
  if (depth == 0)
    return -ELOOP;
  char last = path[n];
  path[n] = 0;
  size_t start = n;
  while (start > 0 && path[start - 1] != '/')
    start--;
  fd = start == 0 ? -EINVAL : make_in (run, step, path, path + start, kind, depth - 1);
  path[n] = last;
  return fd;
}

int
open_target (struct run *run, const struct step *step, const char *path, enum kind kind)
{
  if (kind == NO_KIND || !(step->flags & MAKE_TARGET))
    return open_place (run, step, path, O_PATH);
  /* The plan's text is ours to write to while we work: it is a private copy. */
  return open_or_make (run, step, (char *)(uintptr_t)path, kind, DEEPEST);
}

int
open_parent (struct run *run, const struct step *step, const char *path, const char **name)
{
  char parent[PATH_MAX];
  size_t n = length_of (path);
  while (n > 0 && path[n - 1] != '/')
    n--;
  if (n == 0 || n >= sizeof parent || path[n] == 0)
    return -EINVAL;
  *name = path + n;
  memcpy (parent, path, n);
  parent[n] = 0;
  return open_place (run, step, parent, O_PATH | O_DIRECTORY);
}
