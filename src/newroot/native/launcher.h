/* launcher.h: newroot-init as the resident parent of an engine's containers. */

#ifndef NEWROOT_LAUNCHER_H
#define NEWROOT_LAUNCHER_H

/* Serves requests on *control* until it closes or the process behind the pidfd *owner*
 * dies.  Returns an exit status when the last container is gone. */
int serve (int control, int owner);

#endif
