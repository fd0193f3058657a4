/* path.c: every name below the new root is resolved by openat2(RESOLVE_IN_ROOT), so
 * neither "..", nor an absolute symlink, nor a race can lead out of it (openat2(2)). */

#include "path.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#define PATH_MAX 4096
#define RACES 64 /* openat2 says EAGAIN when a rename elsewhere crossed its ".." */

static int
resolve (struct run *run, int root, const char *path, struct open_how how)
{
  long fd = -EAGAIN;
  for (int i = 0; i < RACES && fd == -EAGAIN; i++)
    fd = attempt (run, __NR_openat2, root, path, &how, sizeof how);
  return (int)fd;
}

int
open_in_root (struct run *run, const char *path, int flags, unsigned mode)
{
  struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC),
                          .mode = mode,
                          .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
  return resolve (run, run->root, path, how);
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
  long made = kind == FILE ? attempt (run, __NR_mknodat, parent, name, S_IFREG | 0644, 0)
                           : attempt (run, __NR_mkdirat, parent, name, 0755);
  return made == -EEXIST ? 0 : (int)made;
}

/* Makes each missing component in the directory that its prefix resolved to. */
static int
make_missing (struct run *run, const struct step *step, const char *path, enum kind kind)
{
  char prefix[PATH_MAX];
  size_t n = length_of (path);
  if (n >= sizeof prefix)
    return -ENAMETOOLONG;

  int parent CLEANUP_FD = open_place (run, step, "/", O_PATH | O_DIRECTORY);
  if (parent < 0)
    return parent;
  for (size_t start = 0, end; start < n; start = end)
    {
      while (path[start] == '/')
        start++;
      for (end = start; path[end] != 0 && path[end] != '/';)
        end++;
      if (end == start)
        break;
      size_t rest = end;
      while (path[rest] == '/')
        rest++;
      int is_last = path[rest] == 0;
      memcpy (prefix, path, end);
      prefix[end] = 0;

      int fd = open_place (run, step, prefix, O_PATH);
      if (fd == -ENOENT)
        {
          int made = make_one (run, parent, prefix + start, is_last ? kind : DIRECTORY);
          if (made < 0)
            return made;
          fd = open_place (run, step, prefix, O_PATH);
        }
      if (fd < 0)
        return fd;
      close_fd (&parent);
      parent = fd;
    }
  return 0;
}

int
open_target (struct run *run, const struct step *step, const char *path, enum kind kind)
{
  int fd = open_place (run, step, path, O_PATH);
  if (fd != -ENOENT || kind == NO_KIND || !(step->flags & MAKE_TARGET))
    return fd;
  int made = make_missing (run, step, path, kind);
  return made < 0 ? made : open_place (run, step, path, O_PATH);
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
