/* packet.h: packets with descriptors beside them (unix(7), SCM_RIGHTS). */

#ifndef NEWROOT_PACKET_H
#define NEWROOT_PACKET_H

#include "sys.h"

/* *count* descriptors go along.  Never blocks, never raises SIGPIPE. */
long send_packet (int socket, const void *data, size_t size, const int *fds, size_t count);

/* The size received, 0 at the end, or -errno; *count* descriptors are in *fds*. */
long receive_packet (int socket, void *data, size_t size, int *fds, size_t room, size_t *count,
                     int wait);

#endif
