/* monitor.h: newroot-init as the keeper of one detached container. */

#ifndef NEWROOT_MONITOR_H
#define NEWROOT_MONITOR_H

#include "wire.h"

#include <stddef.h>

/* The container as the launcher bore it. */
struct borne
{
  int pidfd;
  int32_t pid;
};

/* Bears the container again, by a request and its fixed descriptors: the launcher's part.
 * 0 or -errno. */
typedef long bear_function (const struct request *request, int *fds, struct borne *born);

/* Is *keep* of *size* bytes, with *count* descriptors, what monitor() may be given? */
int keep_is_sound (const struct keep *keep, long size, size_t count);

/* Keeps the container's streams, log and end until that is over and no restart follows.
 * The descriptors become its own.  On *asked* it says its process id when all is in place, and
 * closes that.  Returns an exit status. */
int monitor (const struct keep *keep, const int *fds, struct borne born, bear_function *again,
             int asked);

#endif
