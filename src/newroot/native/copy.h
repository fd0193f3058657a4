/* copy.h: what a directory holds, copied into a new file system. */

#ifndef NEWROOT_COPY_H
#define NEWROOT_COPY_H

#include "plan.h"

/* Copy all below the directory *from* into the directory *to*: files, directories, links, nodes,
 * with mode and owner.  What nothing can be read from, a socket, is left out. */
int copy_directory (struct run *run, int from, int to, int depth);

#define DEEPEST_COPY 128 /* each level has two descriptors open, and 2 KB of stack */

#endif
