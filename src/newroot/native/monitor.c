/* monitor.c: what one detached container says, how it ends, and whether it begins again.
 *
 * Nobody waits for a detached container, so this process does.  It copies what the container
 * says into its log and to whoever is attached, hands on what they type, and when the
 * container has ended and all that it said is written, notes how; or starts it anew, by the
 * same plan.  One poll over few descriptors: there is one container, and seldom a visitor.
 *
 * Who attaches and does not read holds the container up, as with a terminal: nothing that a
 * reader sees was left out. */

#include "monitor.h"

#include "log.h"
#include "notes.h"
#include "packet.h"
#include "sys.h"

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/termios.h>
#include <linux/fcntl.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <linux/time.h>
#include <linux/wait.h>

enum
{
  MOST_CLIENTS = 16,
  MOST_POLLED = 6 + MOST_CLIENTS,
  MOST_DATA = 32768,
  MOST_WORDS = 16, /* of the command that this becomes */
  SOURCES = 2,     /* the terminal, or what the command says on 1 and on 2 */
  FIRST_DELAY_MS = 100,
  LAST_DELAY_MS = 60000,
  GOOD_RUN_MS = 10000 /* after such a run a restart is like the first: Docker's rule */
};

struct client
{
  int fd;   /* -1: a free place */
  int owes; /* the packet in hand did not go out yet */
};

static struct
{
  struct keep keep;
  struct borne born;
  int alive;
  int plan, run_directory, log_directory, listener, events, act;
  int own[MOST_OWN];    /* the plan's own descriptors */
  int report;           /* of a restart, until its command runs */
  int sources[SOURCES]; /* -1: drained, or the log's alone */
  int input;            /* the terminal, or the command's 0; -1: closed */
  struct log log;
  struct stream streams[SOURCES];
  struct client clients[MOST_CLIENTS];
  int stopping; /* somebody wants it to end for good */
  uint32_t restarts;
  uint64_t delay_ms, began_ms, due_ms; /* due: when to begin again; 0: not now */
  int code, value;                     /* how it ended, as waitid(2) tells */
  int check;                           /* a pidfd of what looks whether it is well; or -1 */
  uint64_t check_due_ms;
  /* In hand: one packet of output, and what was typed and did not fit yet. */
  size_t out_size, in_size, in_done;
  char out[1 + MOST_DATA], in[1 + MOST_DATA];
} self;

static uint64_t
now_ms (void)
{
  int64_t at[2] = { 0, 0 };
  sys (__NR_clock_gettime, CLOCK_MONOTONIC, at);
  return (uint64_t)(at[0] * 1000 + at[1] / 1000000);
}

static void
drop (int *fd)
{
  close_fd (fd);
  *fd = -1;
}

/* ---- what the container says ---- */

static int
somebody_owes (void)
{
  for (int i = 0; i < MOST_CLIENTS; i++)
    if (self.clients[i].fd >= 0 && self.clients[i].owes)
      return 1;
  return 0;
}

/* What he wanted before he went still counts. */
static void
part_with (struct client *client)
{
  char what;
  size_t none;
  while (receive_packet (client->fd, &what, 1, NULL, 0, &none, 0) > 0)
    if (what == MONITOR_STOP)
      self.stopping = 1;
  drop (&client->fd);
}

static void
send_out (struct client *client)
{
  long sent = send_packet (client->fd, self.out, self.out_size, NULL, 0);
  client->owes = sent == -EAGAIN || sent == -ENOBUFS;
  if (sent < 0 && !client->owes)
    part_with (client);
}

static void
tell_all (void)
{
  for (int i = 0; i < MOST_CLIENTS; i++)
    if (self.clients[i].fd >= 0)
      send_out (&self.clients[i]);
}

/* A terminal whose other end nobody has open answers EIO: tty(4). */
static void
take_output (int source)
{
  static const char marks[SOURCES] = { MONITOR_OUTPUT, MONITOR_ERRORS };
  struct stream *stream = &self.streams[source];
  long n = sys (__NR_read, self.sources[source], self.out + 1, MOST_DATA);
  if (n == -EAGAIN || n == -EINTR)
    return;
  if (n <= 0)
    {
      if (self.log.file >= 0)
        log_end (&self.log, stream);
      if (self.keep.flags & KEEP_TERMINAL)
        self.input = -1; /* the same descriptor */
      drop (&self.sources[source]);
      return;
    }
  if (self.log.file >= 0)
    log_take (&self.log, stream, self.out + 1, (size_t)n);
  self.out[0] = marks[source];
  self.out_size = 1 + (size_t)n;
  tell_all ();
}

/* ---- what its visitors say ---- */

static int
has_typed (void)
{
  return self.input >= 0 && self.in_done < self.in_size;
}

static void
give_input (void)
{
  if (has_typed ())
    {
      long n = sys (__NR_write, self.input, self.in + self.in_done, self.in_size - self.in_done);
      if (n == -EAGAIN || n == -EINTR)
        return;
      if (n > 0)
        {
          self.in_done += (size_t)n;
          return;
        }
      if (!(self.keep.flags & KEEP_TERMINAL))
        drop (&self.input); /* nobody reads it any more */
    }
  self.in_done = self.in_size = 0;
}

static void
set_size (const char *at)
{
  struct winsize size = { 0 };
  memcpy (&size.ws_row, at, 2);
  memcpy (&size.ws_col, at + 2, 2);
  if (self.keep.flags & KEEP_TERMINAL && self.input >= 0)
    sys (__NR_ioctl, self.input, TIOCSWINSZ, &size);
}

static void
hear (struct client *client)
{
  size_t none;
  long n = receive_packet (client->fd, self.in, sizeof self.in, NULL, 0, &none, 0);
  if (n == -EAGAIN || n == -EINTR)
    return;
  char what = n > 0 ? self.in[0] : 0;
  if (n <= 0)
    drop (&client->fd);
  else if (what == MONITOR_INPUT && self.input >= 0)
    {
      self.in_done = 1;
      self.in_size = (size_t)n;
      give_input ();
    }
  else if (what == MONITOR_SIZE && n == 5)
    set_size (self.in + 1);
  else if (what == MONITOR_STOP)
    self.stopping = 1;
  else if (what == MONITOR_POLICY && n == 6 && self.in[1] <= RESTART_ALWAYS)
    {
      self.keep.policy = (uint32_t)self.in[1];
      memcpy (&self.keep.most_restarts, self.in + 2, 4);
    }
  else if (what == MONITOR_CLOSE && self.keep.flags & KEEP_STDIN_ONCE && self.input >= 0)
    drop (&self.input);
}

/* One too many is turned away by a closed connection. */
static void
let_in (void)
{
  int fd = (int)sys (__NR_accept4, self.listener, NULL, NULL, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return;
  for (int i = 0; i < MOST_CLIENTS; i++)
    if (self.clients[i].fd < 0)
      {
        self.clients[i] = (struct client){ fd, 0 };
        return;
      }
  sys (__NR_close, fd);
}

/* ---- its end, and another beginning ---- */

static void
collect (void)
{
  siginfo_t info = { 0 };
  if (sys (__NR_waitid, P_PIDFD, self.born.pidfd, &info, WEXITED | WNOHANG, NULL) < 0
      || info.si_pid == 0)
    return;
  self.alive = 0;
  self.code = info.si_code;
  self.value = info.si_status;
  drop (&self.born.pidfd);
}

/* Whose directory somebody has removed has nowhere to begin from, and nobody to be of use to. */
static int
has_vanished (int directory)
{
  struct statx stat = { 0 };
  return sys (__NR_statx, directory, "", 0x1000 /* AT_EMPTY_PATH */, STATX_NLINK, &stat) == 0
         && stat.stx_nlink == 0;
}

static int
is_to_begin_again (void)
{
  int failed = self.code != CLD_EXITED || self.value != 0;
  if (has_vanished (self.run_directory) || has_vanished (self.log_directory))
    return 0;
  if (self.stopping || self.keep.policy == RESTART_NO)
    return 0;
  if (self.keep.policy == RESTART_ON_FAILURE)
    return failed && (self.keep.most_restarts == 0 || self.restarts < self.keep.most_restarts);
  return 1;
}

static void
plan_next (void)
{
  uint64_t ran = now_ms () - self.began_ms;
  if (self.delay_ms == 0 || ran >= GOOD_RUN_MS)
    self.delay_ms = FIRST_DELAY_MS;
  else if (self.delay_ms < LAST_DELAY_MS)
    self.delay_ms = self.delay_ms * 2 < LAST_DELAY_MS ? self.delay_ms * 2 : LAST_DELAY_MS;
  self.due_ms = now_ms () + self.delay_ms;
}

static long
make_pipe (int *ours, int *theirs, int we_read)
{
  int ends[2];
  long done = sys (__NR_pipe2, ends, O_CLOEXEC);
  if (done < 0)
    return done;
  *ours = ends[we_read ? 0 : 1];
  *theirs = ends[we_read ? 1 : 0];
  return sys (__NR_fcntl, *ours, F_SETFL, O_NONBLOCK);
}

/* What it said and got before is drained and closed; it gets new ends. */
static long
make_streams (int *theirs)
{
  long done = 0;
  drop (&self.input);
  if (self.keep.flags & KEEP_TERMINAL)
    return 0; /* the plan opens it, and its report brings it */
  for (int i = 0; done >= 0 && i < SOURCES; i++)
    done = make_pipe (&self.sources[i], &theirs[1 + i], 1);
  if (done >= 0 && self.keep.flags & KEEP_STDIN)
    done = make_pipe (&self.input, &theirs[0], 0);
  return done;
}

/* Else a write to a command that does not read any more would end this process; but the
 * command itself is to be born with what a process has by default. */
static void
ignore_broken_pipes (int ignored)
{
  const uint64_t action[4] = { ignored ? 1 /* SIG_IGN */ : 0 }; /* struct sigaction */
  sys (__NR_rt_sigaction, SIGPIPE, action, NULL, 8);
}

static void
begin_again (bear_function *again)
{
  /* In the order of a request's descriptors; -1 is the null device, which our own 0 is. */
  int theirs[3] = { -1, -1, -1 }, reports[2] = { -1, -1 }, statuses[2] = { -1, -1 };
  struct request request
      = { .magic = REQUEST_MAGIC, .clone_flags = self.keep.clone_flags, .own = self.keep.own };
  long done = make_streams (theirs);
  if (done >= 0)
    done = sys (__NR_socketpair, 1 /* AF_UNIX */, 5 /* SOCK_SEQPACKET */ | O_CLOEXEC, 0, reports);
  if (done >= 0)
    done = sys (__NR_socketpair, 1, 5 | O_CLOEXEC, 0, statuses);
  if (done >= 0)
    {
      int fds[FD_FIXED + MOST_OWN] = { self.plan, reports[1], statuses[1], 0, 0, 0 };
      for (int i = 0; i < 3; i++)
        if (theirs[i] >= 0)
          fds[FD_STDIN + i] = theirs[i];
      memcpy (fds + FD_FIXED, self.own, sizeof self.own);
      ignore_broken_pipes (0);
      done = again (&request, fds, &self.born);
      ignore_broken_pipes (1);
    }
  for (int i = 0; i < 3; i++)
    close_fd (&theirs[i]);
  close_fd (&reports[1]);
  close_fd (&statuses[0]);
  close_fd (&statuses[1]);
  self.report = reports[0];
  self.due_ms = 0;
  self.restarts++;
  self.began_ms = now_ms ();
  self.check_due_ms = self.began_ms + self.keep.check_ms;
  if (done >= 0)
    {
      self.alive = 1;
      note_pid (self.run_directory, self.born.pid, self.restarts);
      note_event (self.events, self.keep.id, "start", -1);
      return;
    }
  for (int i = 0; i < SOURCES; i++)
    drop (&self.sources[i]);
  self.code = CLD_EXITED;
  self.value = 125; /* not its doing: Docker's number for that */
}

/* Until the command runs: its terminal, and the end of what is said. */
static void
take_report (void)
{
  struct report report;
  int fd = -1;
  size_t count;
  long n = receive_packet (self.report, &report, sizeof report, &fd, 1, &count, 0);
  if (n == -EAGAIN || n == -EINTR)
    return;
  if (n <= 0)
    drop (&self.report);
  else if (report.kind == REPORT_TERMINAL && count == 1)
    {
      sys (__NR_fcntl, fd, F_SETFL, O_NONBLOCK);
      self.sources[0] = self.input = fd;
    }
  else if (count == 1)
    close_fd (&fd);
}

/* ---- whether it is well ---- */

/* The next check is so long after the end of this one. */
static void
collect_check (int options)
{
  siginfo_t info = { 0 };
  if (sys (__NR_waitid, P_PIDFD, self.check, &info, WEXITED | options, NULL) < 0
      || info.si_pid == 0)
    return;
  drop (&self.check);
  self.check_due_ms = now_ms () + self.keep.check_ms;
}

/* Nobody may note how the container is when it is no more. */
static void
end_check (void)
{
  if (self.check < 0)
    return;
  sys (__NR_pidfd_send_signal, self.check, SIGKILL, NULL, 0);
  collect_check (0);
}

/* ---- the loop ---- */

static void
watch (struct pollfd *polled, int *count, int fd, short events)
{
  polled[*count] = (struct pollfd){ .fd = fd, .events = events };
  (*count)++;
}

static int
is_to_be_checked (void)
{
  return self.alive && self.keep.check_ms != 0 && self.check < 0;
}

/* A negative descriptor is passed over: poll(2). */
static void
wait_for_news (struct pollfd *polled)
{
  int count = 0, busy = somebody_owes (), typed = has_typed ();
  watch (polled, &count, self.alive ? self.born.pidfd : -1, POLLIN);
  watch (polled, &count, self.listener, POLLIN);
  watch (polled, &count, self.report, POLLIN);
  for (int i = 0; i < SOURCES; i++)
    watch (polled, &count, busy ? -1 : self.sources[i], POLLIN);
  for (int i = 0; i < MOST_CLIENTS; i++)
    {
      const struct client *client = &self.clients[i];
      watch (polled, &count, client->fd,
             (short)((typed ? 0 : POLLIN) | (client->owes ? POLLOUT : 0)));
    }
  watch (polled, &count, typed ? self.input : -1, POLLOUT);
  watch (polled, &count, self.check, POLLIN);

  int64_t left[2] = { 0, 0 };
  uint64_t due = self.due_ms ? self.due_ms : is_to_be_checked () ? self.check_due_ms : 0;
  uint64_t now = due ? now_ms () : 0;
  if (due > now)
    {
      left[0] = (int64_t)(due - now) / 1000;
      left[1] = (int64_t)(due - now) % 1000 * 1000000;
    }
  if (sys (__NR_ppoll, polled, count, due ? left : NULL, NULL, 0) < 0)
    for (int i = 0; i < count; i++)
      polled[i].revents = 0;
}

static void
handle_news (const struct pollfd *polled)
{
  if (polled[0].revents)
    collect ();
  if (polled[1].revents)
    let_in ();
  if (polled[2].revents)
    take_report ();
  for (int i = 0; i < MOST_CLIENTS; i++)
    {
      const struct pollfd *news = &polled[3 + SOURCES + i];
      struct client *client = &self.clients[i];
      if (news->fd < 0 || client->fd != news->fd || !news->revents)
        continue;
      if (client->owes && news->revents & POLLOUT)
        send_out (client);
      if (client->fd >= 0 && !has_typed () && news->revents & (POLLIN | POLLHUP))
        hear (client);
      else if (client->fd >= 0 && news->revents & (POLLERR | POLLHUP))
        part_with (client);
    }
  for (int i = 0; i < SOURCES && !somebody_owes (); i++)
    if (polled[3 + i].fd >= 0 && polled[3 + i].fd == self.sources[i] && polled[3 + i].revents)
      take_output (i);
  if (polled[3 + SOURCES + MOST_CLIENTS].revents)
    give_input ();
  if (polled[4 + SOURCES + MOST_CLIENTS].revents)
    collect_check (WNOHANG);
}

/* It has ended, and all that it said has been passed on. */
static int
is_over (void)
{
  for (int i = 0; i < SOURCES; i++)
    if (self.sources[i] >= 0)
      return 0;
  return !self.alive && self.report < 0 && !somebody_owes ();
}

static void
note_death (void)
{
  note_event (self.events, self.keep.id, "die",
              self.code == CLD_EXITED ? self.value : 128 + self.value);
}

/* What takes Python is done in this process's place, so that none of it is there before.  The
 * command has the run directory, whose lock is the container's, and knows its number. */
static void
become (const char *what, int keeps_lock)
{
  static char words[8192], numbers[3][24];
  char *argv[MOST_WORDS + 5], *none[] = { NULL };
  long n = sys (__NR_pread64, self.act, words, sizeof words - 1, 0);
  int count = 0;
  for (long at = 0; at < n && count < MOST_WORDS; at += (long)length_of (words + at) + 1)
    argv[count++] = words + at;
  argv[count++] = (char *)(uintptr_t)what;
  argv[count++] = in_words (numbers[0], (uint64_t)self.run_directory);
  argv[count++] = in_words (numbers[1], self.restarts);
  argv[count++] = in_words (numbers[2], self.delay_ms);
  argv[count] = NULL;
  if (keeps_lock)
    sys (__NR_fcntl, self.run_directory, F_SETFD, 0);
  ignore_broken_pipes (0);
  sys (__NR_execve, argv[0], argv, none);
}

/* A process of the host's looks whether the container is well, and notes what it saw. */
static void
begin_check (void)
{
  struct clone_args args
      = { .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&self.check, .exit_signal = SIGCHLD };
  long pid = sys (__NR_clone3, &args, sizeof args);
  if (pid == 0)
    {
      become ("check", 0);
      sys (__NR_exit_group, 1);
    }
  if (pid < 0)
    self.check_due_ms = now_ms () + self.keep.check_ms;
}

static void
say_the_end (void)
{
  struct
  {
    char what;
    unsigned char signaled, value;
  } end = { MONITOR_END, self.code != CLD_EXITED, (unsigned char)self.value };
  note_end (self.log_directory, self.code, self.value, self.restarts);
  for (int i = 0; i < MOST_CLIENTS; i++)
    if (self.clients[i].fd >= 0)
      send_packet (self.clients[i].fd, &end, sizeof end, NULL, 0);
}

static size_t
count_streams (const struct keep *keep)
{
  return keep->flags & KEEP_TERMINAL ? 1 : keep->flags & KEEP_STDIN ? 3 : 2;
}

int
keep_is_sound (const struct keep *keep, long size, size_t count)
{
  if (size != sizeof *keep || keep->magic != KEEP_MAGIC || keep->policy > RESTART_ALWAYS
      || keep->own > MOST_OWN)
    return 0;
  return count == KEEP_FIXED + count_streams (keep) + keep->own;
}

static void
begin (const struct keep *keep, const int *fds, struct borne born)
{
  const int *streams = fds + KEEP_FIXED;
  int terminal = keep->flags & KEEP_TERMINAL;
  self.keep = *keep;
  self.born = born;
  self.alive = 1;
  self.began_ms = now_ms ();
  self.restarts = keep->restarts;
  self.delay_ms = keep->delay_ms;
  self.events = fds[KEEP_EVENTS];
  self.act = fds[KEEP_ACT];
  memcpy (self.own, streams + count_streams (keep), keep->own * sizeof *self.own);
  self.plan = fds[KEEP_PLAN];
  self.log_directory = fds[KEEP_DIRECTORY];
  self.run_directory = fds[KEEP_RUN_DIRECTORY];
  self.listener = fds[KEEP_LISTENER];
  self.report = self.check = -1;
  self.check_due_ms = self.began_ms + keep->check_ms;
  self.sources[0] = streams[0];
  self.sources[1] = terminal ? -1 : streams[1];
  self.input = terminal ? streams[0] : keep->flags & KEEP_STDIN ? streams[2] : -1;
  self.streams[0].name = "stdout";
  self.streams[1].name = "stderr";
  self.log = (struct log){ .directory = fds[KEEP_DIRECTORY],
                           .file = -1,
                           .plain = keep->flags & KEEP_PLAIN,
                           .files = keep->log_files,
                           .most = keep->log_bytes };
  for (int i = 0; i < MOST_CLIENTS; i++)
    self.clients[i].fd = -1;
  for (int i = 0; i < SOURCES; i++)
    if (self.sources[i] >= 0)
      sys (__NR_fcntl, self.sources[i], F_SETFL, O_NONBLOCK);
  if (!terminal && self.input >= 0)
    sys (__NR_fcntl, self.input, F_SETFL, O_NONBLOCK);
  sys (__NR_fcntl, self.listener, F_SETFL, O_NONBLOCK);
  if (keep->log_files > 0 && log_open (&self.log) < 0)
    self.log.file = -1;
}

int
monitor (const struct keep *keep, const int *fds, struct borne born, bear_function *again,
         int asked)
{
  const int32_t pid = (int32_t)sys (__NR_getpid);
  struct pollfd polled[MOST_POLLED + 1];
  begin (keep, fds, born);
  ignore_broken_pipes (1);
  sys (__NR_write, asked, &pid, sizeof pid);
  sys (__NR_close, asked);
  for (;;)
    {
      wait_for_news (polled);
      handle_news (polled);
      if (self.due_ms != 0 && (self.stopping || now_ms () >= self.due_ms))
        {
          if (self.stopping)
            break;
          if (self.keep.flags & KEEP_AGAIN_BY_ACT)
            {
              become ("again", 1);
              break;
            }
          begin_again (again);
        }
      else if (self.due_ms == 0 && is_over ())
        {
          end_check ();
          note_death ();
          if (!is_to_begin_again ())
            break;
          plan_next ();
        }
      if (is_to_be_checked () && now_ms () >= self.check_due_ms)
        begin_check ();
    }
  say_the_end ();
  if (self.keep.flags & KEEP_LAST_ACT && !has_vanished (self.run_directory))
    become ("clear", 1);
  return 0;
}
