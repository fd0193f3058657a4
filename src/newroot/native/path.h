/* path.h: names become descriptors, below the new root, and are not used as names again. */

#ifndef NEWROOT_PATH_H
#define NEWROOT_PATH_H

#include "plan.h"

enum kind
{
  NO_KIND, /* do not make it */
  DIRECTORY,
  FILE
};

/* O_PATH descriptor of a step's target, made first when the step says so. */
int open_target (struct run *run, const struct step *step, const char *path, enum kind kind);

/* O_PATH descriptor of a directory below the new root. */
int open_in_root (struct run *run, const char *path);

/* Whether an open file is on a file system of this kind: linux/magic.h. */
int is_on (int fd, long magic);

/* The directory that holds *path*; *name becomes the last component. */
int open_parent (struct run *run, const struct step *step, const char *path, const char **name);

#endif
