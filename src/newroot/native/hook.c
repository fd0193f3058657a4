/* hook.c: a hook of the config is run where the container is: runtime-spec, config.md, Hooks.
 *
 * The descriptors come from Python when the hook's turn has come, for only then is it known
 * what the container's state is.  How the hook ended is for Python to put into words. */

#include "steps.h"

#include "packet.h"

#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>

enum
{
  STATE,  /* what the hook reads */
  OUTPUT, /* where it writes */
  FDS,
  EXECUTABLE = 1 /* X_OK */
};

static _Noreturn void
be_hook (const struct run *run, const struct step *step, const int *fds, char **argv,
         char **environment)
{
  if (step->flags & ON_HOST) /* before the pivot: in the new root, as runc's are */
    sys (__NR_fchdir, run->root);
  for (int fd = 0; fd < 3; fd++)
    sys (__NR_dup3, fds[fd == 0 ? STATE : OUTPUT], fd, 0);
  sys (__NR_close_range, 3, ~0U, 0);
  sys (__NR_execve, text_of (step, step->a), argv, environment);
  for (;;)
    sys (__NR_exit_group, 126);
}

/* How the hook *pid* ended, as wait4(2) tells; one that takes longer than it may is killed. */
static int
await_hook (struct run *run, long pid, uint64_t seconds)
{
  const int64_t limit[2] = { (int64_t)seconds, 0 };
  int pidfd CLEANUP_FD = (int)attempt (run, __NR_pidfd_open, pid, 0);
  struct pollfd ask = { .fd = pidfd, .events = POLLIN };
  long ended = pidfd;
  if (pidfd >= 0)
    ended = attempt (run, __NR_ppoll, &ask, 1, seconds == 0 ? NULL : limit, NULL, 0);
  if (ended <= 0)
    sys (__NR_kill, pid, SIGKILL);
  int status = 0;
  sys (__NR_wait4, pid, &status, 0, NULL);
  if (ended > 0 && status != 0)
    run->call = (uint32_t)status;
  return ended < 0 ? (int)ended : ended == 0 ? -ETIMEDOUT : status == 0 ? 0 : -ECANCELED;
}

/* a: its file; b: argv; c: environment; x: the seconds it has, 0 for any number. */
int
step_run_hook (struct run *run, struct step *step)
{
  char **argv = list_of (step, step->b), **environment = list_of (step, step->c);
  if (argv == NULL || environment == NULL)
    return -EINVAL;
  /* execve's own error would be the child's, and lost. */
  long pid = attempt (run, __NR_faccessat, AT_FDCWD, text_of (step, step->a), EXECUTABLE);
  if (pid < 0)
    return (int)pid;

  int fds[FDS];
  size_t count;
  char word;
  send_report (run, REPORT_WAITING, 0);
  long n = receive_packet (run->report, &word, sizeof word, fds, FDS, &count, 1);
  if (n > 0 && count == FDS)
    pid = attempt (run, __NR_clone, SIGCHLD, 0, 0, 0, 0);
  else
    pid = n < 0 ? n : -ECANCELED;
  if (pid == 0)
    be_hook (run, step, fds, argv, environment);
  for (size_t i = 0; i < count; i++)
    close_fd (&fds[i]);
  return pid < 0 ? (int)pid : await_hook (run, pid, step->x);
}
