/* launcher.c: waits for requests and for ends.
 *
 * A library's engine starts one launcher and sends it plans.  The launcher is small,
 * so a clone of it is cheap, whatever the size of the caller; and it is the parent of
 * every container, so it knows how each ended.  When its owner is gone, by whatever
 * death, it kills what it started, collects it, and ends. */

#include "launcher.h"

#include "monitor.h"
#include "packet.h"
#include "plan.h"

#include <asm/fcntl.h>
#include <linux/mman.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/close_range.h>
#include <linux/eventpoll.h>
#include <linux/fcntl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <linux/wait.h>

#include <asm/siginfo.h>

enum
{
  MOST_CHILDREN = 32768,
  MOST_EVENTS = 64,
  EPOLL_ADD = 1,
  EPOLL_DELETE = 2,
  /* Marks in epoll's data that are no child's number; above those, births. */
  CONTROL = -1,
  OWNER = -2,
  BIRTHS = MOST_CHILDREN
};

struct limit
{
  uint64_t soft, hard;
};

struct child
{
  int pidfd; /* 0 when this place is free */
  int32_t pid;
  int status; /* socket to Python; -1 for the one that is ready */
  int birth;  /* from here comes who is to be in this place, from STEP_BIRTH; -1 for none */
};

/* A process that was born before it was asked for.  To be born in new namespaces takes a
 * quarter of a start; with a process ready that happens while nobody waits. */
struct ready
{
  int place; /* among the children; -1 when there is none */
  int door;  /* the request goes through here */
  uint64_t clone_flags;
};

static struct launcher
{
  int control, owner, events, self;
  int running, highest;
  int mounts; /* /proc/self/mountinfo: poll tells that our mounts have changed */
  struct ready ready;
  int ending; /* the owner is gone */
  int kept;   /* the child that somebody may keep: see WANT_KEPT; -1 for none */
  struct limit files;
  struct child children[MOST_CHILDREN];
} launcher;

/* ---- in the child, between clone and the plan's first step ---- */

static struct plan *
map_plan (int fd)
{
  struct statx stat;
  if (sys (__NR_statx, fd, "", 0x1000 /* AT_EMPTY_PATH */, STATX_SIZE, &stat) < 0)
    return NULL;
  long at = sys (__NR_mmap, NULL, stat.stx_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  if (at < 0 && at > -4096)
    return NULL;
  struct plan *plan = (struct plan *)at;
  return plan_check (plan, stat.stx_size) < 0 ? NULL : plan;
}

/* First away from every number that will be overwritten, then down to its place. */
static long
place_fds (int *fds, size_t count, int first)
{
  long done = 0;
  for (size_t i = 0; done >= 0 && i < count; i++)
    done = fds[i] = (int)sys (__NR_fcntl, fds[i], F_DUPFD_CLOEXEC, first + (int)count);
  for (size_t i = 0; done >= 0 && i < count; i++)
    done = sys (__NR_dup3, fds[i], first + (int)i, 0);
  return done;
}

/* The command's descriptors are 0, 1, 2 and those passed; ours and the plan's follow, which
 * exec closes; nothing else stays open: not another container's, not the launcher's. */
static long
arrange_fds (struct run *run, int *fds, const struct request *request)
{
  int ours[3 + MOST_OWN] = { fds[FD_REPORT], launcher.self, run->birth };
  const size_t count = 3 + request->own;
  const int next = 3 + (int)request->passed;
  memcpy (ours + 3, fds + FD_FIXED + request->passed, request->own * sizeof *ours);
  long done = 0;
  /* Out of the way first: the numbers that they have now may be wanted by the command. */
  for (size_t i = 0; done >= 0 && i < count; i++)
    done = ours[i] = (int)sys (__NR_fcntl, ours[i], F_DUPFD_CLOEXEC, next);
  if (done >= 0)
    done = place_fds (fds + FD_STDIN, 3 + request->passed, 0);
  if (done >= 0)
    done = place_fds (ours, count, next);
  run->report = next;
  run->launcher = next + 1;
  run->birth = next + 2;
  run->own = next + 3;
  const int end = next + (int)count;
  if (done >= 0)
    done = sys (__NR_close_range, next, end - 1, CLOSE_RANGE_CLOEXEC);
  return done < 0 ? done : sys (__NR_close_range, end, ~0U, 0);
}

/* *birth* is our end of a socket to the launcher, or any descriptor where no birth is to come. */
static _Noreturn void
be_container (const struct request *request, int *fds, int birth)
{
  static struct run run;
  run = (struct run){ .born_in = request->clone_flags,
                      .flags = request->flags,
                      .passed = (int)request->passed,
                      .report = fds[FD_REPORT],
                      .birth = birth,
                      .owned = (int)request->own,
                      .root = -1,
                      .null = -1,
                      .empty = -1 };
  run.plan = map_plan (fds[FD_PLAN]);
  long done = run.plan == NULL ? -EINVAL : arrange_fds (&run, fds, request);
  if (done >= 0)
    done = sys (__NR_prlimit64, 0, RLIMIT_NOFILE, &launcher.files, NULL);
  if (done < 0)
    {
      send_report (&run, REPORT_FAILED, (int)-done);
      sys (__NR_exit_group, 127);
    }
  run_plan (&run);
}

/* Waits for its request with nothing open but the door.  The launcher's end of that closes
 * with the launcher, so no wish to die with a parent is needed. */
static _Noreturn void
be_ready (int door)
{
  struct request request;
  int fds[FD_MAX];
  size_t count;
  int ours[2] = { door, launcher.self };
  long done = place_fds (ours, 2, 3);
  launcher.self = 4;
  if (done >= 0)
    done = sys (__NR_close_range, 5, ~0U, 0);
  if (done >= 0)
    done = receive_packet (3, &request, sizeof request, fds, FD_MAX, &count, 1);
  if (done == sizeof request && count == FD_FIXED + request.passed + request.own)
    be_container (&request, fds, launcher.self);
  for (;;)
    sys (__NR_exit_group, 0);
}

/* ---- in the launcher ---- */

static int
free_place (void)
{
  for (int i = 0; i < launcher.highest; i++)
    if (launcher.children[i].pidfd == 0)
      return i;
  return launcher.highest < MOST_CHILDREN ? launcher.highest++ : -EAGAIN;
}

static long
watch (int fd, int mark)
{
  struct epoll_event event = { .events = EPOLLIN, .data = (uint64_t)(int64_t)mark };
  return sys (__NR_epoll_ctl, launcher.events, EPOLL_ADD, fd, &event);
}

enum
{
  IN_CHILD = -4096 /* no errno */
};

/* A child's place, -errno, or IN_CHILD in the child itself. */
static long
bear (uint64_t clone_flags)
{
  int pidfd = -1;
  struct clone_args args = { .flags = clone_flags | CLONE_PIDFD,
                             .pidfd = (uint64_t)(uintptr_t)&pidfd,
                             .exit_signal = SIGCHLD };
  int place = free_place ();
  if (place < 0)
    return place;
  long pid = sys (__NR_clone3, &args, sizeof args);
  if (pid <= 0)
    return pid == 0 ? IN_CHILD : pid;
  launcher.children[place] = (struct child){ pidfd, (int32_t)pid, -1, -1 };
  launcher.running++;
  watch (pidfd, place);
  return place;
}

/* Asking forgets: the next answer is about what comes after. */
static int
mounts_have_changed (void)
{
  struct pollfd ask = { .fd = launcher.mounts, .events = POLLPRI };
  const int64_t now[2] = { 0, 0 };
  return launcher.mounts < 0 || sys (__NR_ppoll, &ask, 1, now, NULL, 0) != 0;
}

static void
dismiss_ready (void)
{
  if (launcher.ready.place < 0)
    return;
  close_fd (&launcher.ready.door); /* it ends by itself, and is collected like any other */
  launcher.ready.place = -1;
}

/* Its copy of the mount table is as old as it is, so it will not do when ours has changed. */
static long
take_ready (const struct request *request, const int *fds, size_t count)
{
  long place = launcher.ready.place;
  if (place < 0)
    return -EAGAIN;
  if (launcher.ready.clone_flags != request->clone_flags || mounts_have_changed ()
      || send_packet (launcher.ready.door, request, sizeof *request, fds, count) < 0)
    place = -EAGAIN;
  dismiss_ready ();
  return place;
}

static long
open_doors (int *doors)
{
  return sys (__NR_socketpair, 1 /* AF_UNIX */, 5 /* SOCK_SEQPACKET */ | O_CLOEXEC, 0, doors);
}

static void
have_ready (uint64_t clone_flags)
{
  int doors[2];
  if (launcher.ready.place >= 0 || mounts_have_changed () || open_doors (doors) < 0)
    return;
  long place = bear (clone_flags);
  if (place == IN_CHILD)
    be_ready (doors[1]);
  close_fd (&doors[1]);
  if (place < 0)
    close_fd (&doors[0]);
  else
    launcher.ready = (struct ready){ (int)place, doors[0], clone_flags };
}

static void
tell_started (const struct child *child)
{
  struct status status = { .kind = STATUS_STARTED, .pid = child->pid };
  send_packet (child->status, &status, sizeof status, &child->pidfd, 1);
}

/* For a plan with a STEP_BIRTH: who is born now only goes before who is started. */
static long
bear_forerunner (const struct request *request, int *fds)
{
  int doors[2];
  long done = open_doors (doors);
  if (done < 0)
    return done;
  long place = bear (request->clone_flags);
  if (place == IN_CHILD)
    be_container (request, fds, doors[1]);
  close_fd (&doors[1]);
  if (place < 0)
    close_fd (&doors[0]);
  else
    {
      launcher.children[place].birth = doors[0];
      watch (doors[0], BIRTHS + (int)place);
    }
  return place;
}

static long
start (const struct request *request, int *fds, size_t count)
{
  long place;
  if (request->flags & WANT_BIRTH)
    place = bear_forerunner (request, fds);
  else if ((place = take_ready (request, fds, count)) < 0)
    {
      place = bear (request->clone_flags);
      if (place == IN_CHILD)
        be_container (request, fds, launcher.self);
    }
  if (place < 0)
    return place;

  struct child *child = &launcher.children[place];
  child->status = fds[FD_STATUS];
  fds[FD_STATUS] = -1;
  if (child->birth < 0)
    tell_started (child);
  if (request->flags & WANT_KEPT)
    launcher.kept = (int)place;
  return 0;
}

static int
request_is_sound (const struct request *request, long size, size_t fds)
{
  const uint64_t namespaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER
                              | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;
  return size == sizeof *request && request->magic == REQUEST_MAGIC
         && (request->clone_flags & ~namespaces) == 0 && request->own <= MOST_OWN
         && fds >= FD_FIXED + request->own && request->passed == fds - FD_FIXED - request->own;
}

/* For the monitor, which watches by itself. */
static long
bear_again (const struct request *request, int *fds, struct borne *born)
{
  long place = bear (request->clone_flags);
  if (place == IN_CHILD)
    be_container (request, fds, launcher.self);
  if (place < 0)
    return place;
  struct child *child = &launcher.children[place];
  *born = (struct borne){ .pidfd = child->pidfd, .pid = child->pid };
  child->pidfd = 0;
  return 0;
}

/* One container is ours alone from here on: nobody's death ends it.  Others that we had are
 * dead already: what was done in passing for its start. */
static _Noreturn void
keep_container (const struct keep *keep, const int *fds)
{
  for (int i = 0; i < launcher.highest; i++)
    if (i != launcher.kept && launcher.children[i].pidfd != 0)
      sys (__NR_waitid, P_PIDFD, launcher.children[i].pidfd, NULL, WEXITED, NULL);
  close_fd (&launcher.owner);
  close_fd (&launcher.events);
  close_fd (&launcher.mounts);
  /* child->status stays open: what is held for the container waits in its queue. */
  const struct child *child = &launcher.children[launcher.kept];
  struct borne born = { .pidfd = child->pidfd, .pid = child->pid };
  for (;;)
    sys (__NR_exit_group, monitor (keep, fds, born, bear_again, launcher.control));
}

/* One request; 0 when there is none left, -1 when there will be no more. */
static int
take_request (void)
{
  union
  {
    struct request request;
    struct keep keep;
  } packet;
  int fds[FD_MAX];
  size_t count;
  long size = receive_packet (launcher.control, &packet, sizeof packet, fds, FD_MAX, &count, 0);
  if (size == -EAGAIN || size == -EINTR)
    return 0;
  if (size <= 0)
    return -1;
  if (launcher.kept >= 0 && keep_is_sound (&packet.keep, size, count))
    keep_container (&packet.keep, fds);
  const struct request request = packet.request;
  if (size == sizeof request && request.magic == LET_GO_MAGIC)
    sys (__NR_exit_group, 0); /* what was started is its subreaper's from here on */

  long done = request_is_sound (&request, size, count) ? start (&request, fds, count) : -EINVAL;
  if (done < 0 && count > FD_STATUS)
    {
      struct status status = { .kind = STATUS_REFUSED, .code = (int32_t)-done };
      send_packet (fds[FD_STATUS], &status, sizeof status, NULL, 0);
    }
  for (size_t i = 0; i < count; i++)
    close_fd (&fds[i]);
  /* Only now: what is born holds what is open, a moment long. */
  if (done >= 0 && request.flags & WANT_NEXT)
    have_ready (request.clone_flags);
  return 1;
}

/* struct rusage without libc: two timevals, then ru_maxrss and what we do not ask. */
struct usage
{
  int64_t user_s, user_us, system_s, system_us, max_rss_kib, rest[13];
};

/* What Python sent to be held waits in the socket's queue, open.  It is let go before
 * Python hears of the end, for Python may then want to lock or remove it. */
static void
release_held (int socket)
{
  char word[8];
  int fds[FD_MAX];
  size_t count;
  while (receive_packet (socket, word, sizeof word, fds, FD_MAX, &count, 0) > 0)
    for (size_t i = 0; i < count; i++)
      close_fd (&fds[i]);
}

/* From here on this place is the one's who was born, if any was.  It does nothing before it
 * hears that we know of it. */
static void
take_birth (int place, int forerunner_is_dead)
{
  struct child *child = &launcher.children[place];
  int32_t pid;
  int pidfd;
  size_t count;
  long size = receive_packet (child->birth, &pid, sizeof pid, &pidfd, 1, &count, 0);
  if (size == -EAGAIN && !forerunner_is_dead)
    return; /* the event was an earlier one's */
  if (size == sizeof pid && count == 1)
    {
      sys (__NR_waitid, P_PIDFD, child->pidfd, NULL, WEXITED, NULL); /* it is about to end */
      close_fd (&child->pidfd);
      child->pidfd = pidfd;
      child->pid = pid;
      watch (pidfd, place);
      tell_started (child);
      send_packet (child->birth, "", 1, NULL, 0);
    }
  else
    tell_started (child); /* it failed before, and will be collected itself */
  close_fd (&child->birth);
  child->birth = -1;
}

static void
collect (int place)
{
  struct child *child = &launcher.children[place];
  siginfo_t info = { 0 };
  if (child->birth >= 0)
    {
      take_birth (place, 1);
      return; /* epoll tells again of a pidfd that is readable */
    }
  struct usage usage;
  int options = WEXITED | WNOHANG | (launcher.kept == place ? WNOWAIT : 0);
  if (sys (__NR_waitid, P_PIDFD, child->pidfd, &info, options, &usage) < 0 || info.si_pid == 0)
    return;
  struct status status
      = { .kind = STATUS_ENDED,
          .pid = info.si_pid,
          .code = info.si_code,
          .value = info.si_status,
          .user_us = (uint64_t)usage.user_s * 1000000u + (uint64_t)usage.user_us,
          .system_us = (uint64_t)usage.system_s * 1000000u + (uint64_t)usage.system_us,
          .max_rss_kib = (uint64_t)usage.max_rss_kib };
  if (launcher.kept == place)
    {
      send_packet (child->status, &status, sizeof status, NULL, 0);
      sys (__NR_epoll_ctl, launcher.events, EPOLL_DELETE, child->pidfd, NULL);
      return; /* the monitor collects it, or we do in the end */
    }
  if (child->status >= 0)
    {
      release_held (child->status);
      send_packet (child->status, &status, sizeof status, NULL, 0);
    }
  if (place == launcher.ready.place)
    dismiss_ready ();
  close_fd (&child->status);
  /* Python has a copy, which would keep it in epoll, under a place that is another's soon. */
  sys (__NR_epoll_ctl, launcher.events, EPOLL_DELETE, child->pidfd, NULL);
  close_fd (&child->pidfd);
  child->pidfd = 0;
  launcher.running--;
  while (launcher.highest > 0 && launcher.children[launcher.highest - 1].pidfd == 0)
    launcher.highest--;
}

/* The two that stay readable are looked at no more, or the wait for the last child
 * would be a busy one. */
static void
end_all (void)
{
  if (!launcher.ending)
    {
      sys (__NR_epoll_ctl, launcher.events, EPOLL_DELETE, launcher.control, NULL);
      sys (__NR_epoll_ctl, launcher.events, EPOLL_DELETE, launcher.owner, NULL);
    }
  launcher.ending = 1;
  for (int i = 0; i < launcher.highest; i++)
    if (launcher.children[i].pidfd != 0)
      {
        sys (__NR_pidfd_send_signal, launcher.children[i].pidfd, SIGKILL, NULL, 0);
        if (launcher.kept == i) /* it may have been let out of sight, dead */
          watch (launcher.children[i].pidfd, i);
      }
  launcher.kept = -1;
}

static void
handle (int mark)
{
  if (mark == OWNER)
    end_all ();
  else if (mark == CONTROL)
    {
      int more = 1;
      while (more > 0)
        more = take_request ();
      if (more < 0)
        end_all ();
    }
  else if (mark < BIRTHS)
    collect (mark);
  else if (launcher.children[mark - BIRTHS].birth >= 0)
    take_birth (mark - BIRTHS, 0);
}

/* Each container costs the launcher two descriptors; the command gets the limit back. */
static void
raise_file_limit (void)
{
  sys (__NR_prlimit64, 0, RLIMIT_NOFILE, NULL, &launcher.files);
  struct limit raised = { launcher.files.hard, launcher.files.hard };
  sys (__NR_prlimit64, 0, RLIMIT_NOFILE, &raised, NULL);
}

int
serve (int control, int owner)
{
  launcher.control = control;
  launcher.owner = owner;
  launcher.self = (int)sys (__NR_pidfd_open, sys (__NR_getpid), 0);
  launcher.events = (int)sys (__NR_epoll_create1, O_CLOEXEC);
  launcher.mounts = (int)sys (__NR_openat, AT_FDCWD, "/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  launcher.ready.place = -1;
  launcher.kept = -1;
  raise_file_limit ();
  if (launcher.self < 0 || launcher.events < 0 || watch (control, CONTROL) < 0
      || watch (owner, OWNER) < 0)
    return 1;

  while (!launcher.ending || launcher.running > 0)
    {
      struct epoll_event events[MOST_EVENTS];
      long n = sys (__NR_epoll_pwait, launcher.events, events, MOST_EVENTS, -1, NULL, 0);
      if (n < 0 && n != -EINTR)
        return 1;
      for (long i = 0; i < n; i++)
        handle ((int)(int64_t)events[i].data);
      if (launcher.ending)
        end_all (); /* one may have started in the same breath */
    }
  return 0;
}
