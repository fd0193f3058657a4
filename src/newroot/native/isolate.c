/* isolate.c: namespaces, and what is said to them once. */

#include "packet.h"
#include "steps.h"

#include <asm/fcntl.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/netlink.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/sockios.h>

/* x: CLONE_NEW*.  What clone made already needs no second making. */
int
step_unshare (struct run *run, struct step *step)
{
  uint64_t missing = step->x & ~run->born_in;
  return missing == 0 ? 0 : (int)attempt (run, __NR_unshare, missing);
}

/* a: a namespace file of the host; x: its CLONE_NEW* type, which setns checks. */
int
step_set_namespace (struct run *run, struct step *step)
{
  int fd CLEANUP_FD
      = (int)attempt (run, __NR_openat, AT_FDCWD, text_of (step, step->a), O_RDONLY | O_CLOEXEC);
  return fd < 0 ? fd : (int)attempt (run, __NR_setns, fd, step->x);
}

static int
await_parent (struct run *run)
{
  char word;
  long n = attempt (run, __NR_read, run->report, &word, 1);
  return n < 0 ? (int)n : n == 0 ? -ECANCELED : 0;
}

/* Python does its part (maps ids, runs hooks, takes *fd* by pidfd_getfd(2)) and then sends
 * one byte.  By write and read alone: a filter may be loaded that somebody is to be asked by,
 * and nobody is there before Python has taken it. */
int
ask_parent (struct run *run, int fd)
{
  struct report report = { .kind = REPORT_WAITING, .index = run->index, .error = fd };
  long n = attempt (run, __NR_write, run->report, &report, sizeof report);
  return n < 0 ? (int)n : await_parent (run);
}

int
step_wait (struct run *run, struct step *step)
{
  (void)step;
  return ask_parent (run, 0);
}

/* Python moves interfaces here, and sets them up through a socket of this namespace. */
int
step_move_interfaces (struct run *run, struct step *step)
{
  enum
  {
    AF_NETLINK_ = 16,
    SOCK_RAW_ = 3
  };
  (void)step;
  int fd CLEANUP_FD
      = (int)attempt (run, __NR_socket, AF_NETLINK_, SOCK_RAW_ | O_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0)
    return fd;
  struct report report = { .kind = REPORT_WAITING, .index = run->index };
  long sent = note (run, __NR_sendmsg, send_packet (run->report, &report, sizeof report, &fd, 1));
  return sent < 0 ? (int)sent : await_parent (run);
}

/* Who is not dumpable has an id map that only root may write, and the caller, who is to
 * write it, may be an ordinary user: proc(5), /proc/PID. */
int
step_map_ids (struct run *run, struct step *step)
{
  sys (__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
  (void)step;
  int done = ask_parent (run, 0);
  sys (__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  /* Who has no id in here can make no file (EOVERFLOW).  A map may have no root, however. */
  sys (__NR_setresgid, 0, 0, 0);
  sys (__NR_setresuid, 0, 0, 0);
  return done;
}

static int
launcher_is_dead (const struct run *run)
{
  struct pollfd ask = { .fd = run->launcher, .events = POLLIN };
  struct
  {
    int64_t s, ns;
  } now = { 0, 0 };
  return sys (__NR_ppoll, &ask, 1, &now, NULL, 0) != 0;
}

/* The parent may have died before prctl: getppid() says 0 across pid namespaces either
 * way, so a pidfd is asked.  The kernel forgets the wish when ids change, so this step
 * stands after SetUser: prctl(2), PR_SET_PDEATHSIG. */
int
step_die_with_parent (struct run *run, struct step *step)
{
  (void)step;
  long done = attempt (run, __NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (done >= 0 && launcher_is_dead (run))
    return -ECANCELED;
  return (int)done;
}

int
step_new_session (struct run *run, struct step *step)
{
  (void)step;
  long done = attempt (run, __NR_setsid);
  return done < 0 ? (int)done : 0;
}

int
step_set_hostname (struct run *run, struct step *step)
{
  const char *name = text_of (step, step->a);
  return (int)attempt (run, __NR_sethostname, name, length_of (name));
}

int
step_set_domainname (struct run *run, struct step *step)
{
  const char *name = text_of (step, step->a);
  return (int)attempt (run, __NR_setdomainname, name, length_of (name));
}

/* a: the interface; netdevice(7).  Any socket will do for the ioctl. */
int
step_link_up (struct run *run, struct step *step)
{
  enum
  {
    AF_UNIX_ = 1,
    SOCK_DGRAM_ = 2,
    IFF_UP_ = 1
  };
  struct
  {
    char name[16];
    union
    {
      short flags;
      char room[24];
    };
  } request = { .name = "" };
  const char *name = text_of (step, step->a);
  size_t n = length_of (name);
  if (n >= sizeof request.name)
    return -ENODEV;
  memcpy (request.name, name, n);

  int fd CLEANUP_FD = (int)attempt (run, __NR_socket, AF_UNIX_, SOCK_DGRAM_ | O_CLOEXEC, 0);
  if (fd < 0)
    return fd;
  long done = attempt (run, __NR_ioctl, fd, SIOCGIFFLAGS, &request);
  if (done < 0)
    return (int)done;
  request.flags |= IFF_UP_;
  return (int)attempt (run, __NR_ioctl, fd, SIOCSIFFLAGS, &request);
}
