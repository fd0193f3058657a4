/* packet.c: sendmsg and recvmsg, whose structures the kernel's headers leave to libc. */

#include "packet.h"

enum
{
  SOL_SOCKET_ = 1,
  SCM_RIGHTS_ = 1,
  MSG_CTRUNC_ = 0x8,
  MSG_DONTWAIT_ = 0x40,
  MSG_NOSIGNAL_ = 0x4000,
  MSG_CMSG_CLOEXEC_ = 0x40000000,
  MOST_FDS = 253 /* SCM_MAX_FD: the kernel refuses more */
};

struct part
{
  void *base;
  size_t size;
};

struct control
{
  size_t size;
  int level, type;
  int fds[MOST_FDS];
};

struct message
{
  void *name;
  int name_size;
  struct part *parts;
  size_t part_count;
  void *control;
  size_t control_size;
  int flags;
};

long
send_packet (int socket, const void *data, size_t size, const int *fds, size_t count)
{
  struct part part = { (void *)(uintptr_t)data, size };
  struct control control = { .level = SOL_SOCKET_, .type = SCM_RIGHTS_ };
  struct message message = { .parts = &part, .part_count = 1 };
  if (count > 0 && count <= MOST_FDS)
    {
      memcpy (control.fds, fds, count * sizeof *fds);
      control.size = offsetof (struct control, fds) + count * sizeof *fds;
      message.control = &control;
      message.control_size = control.size;
    }
  return sys (__NR_sendmsg, socket, &message, MSG_DONTWAIT_ | MSG_NOSIGNAL_);
}

long
receive_packet (int socket, void *data, size_t size, int *fds, size_t room, size_t *count, int wait)
{
  struct part part = { data, size };
  struct control control;
  struct message message
      = { .parts = &part, .part_count = 1, .control = &control, .control_size = sizeof control };
  *count = 0;
  int flags = MSG_CMSG_CLOEXEC_ | (wait ? 0 : MSG_DONTWAIT_);
  long n = sys (__NR_recvmsg, socket, &message, flags);
  if (n < 0 || message.control_size < offsetof (struct control, fds))
    return n;

  size_t came = (control.size - offsetof (struct control, fds)) / sizeof (int);
  for (size_t i = 0; i < came; i++)
    if (i < room)
      fds[(*count)++] = control.fds[i];
    else
      sys (__NR_close, control.fds[i]);
  return n;
}
