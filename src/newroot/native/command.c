/* command.c: the last steps: the command itself, and a reaper in front of it. */

#include "steps.h"

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/signal.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <linux/wait.h>

enum
{
  SET_MASK = 2, /* SIG_SETMASK */
  MASK_SIZE = 8
};

/* Passes on what it gets, collects what dies, and ends as the command ended. */
static _Noreturn void
reap_until (long command)
{
  const uint64_t all = ~(uint64_t)0;
  for (;;)
    {
      int signal = (int)sys (__NR_rt_sigtimedwait, &all, NULL, NULL, MASK_SIZE);
      if (signal != SIGCHLD)
        {
          if (signal > 0)
            sys (__NR_kill, command, signal);
          continue;
        }
      int status;
      long pid;
      while ((pid = sys (__NR_wait4, -1, &status, WNOHANG, NULL)) > 0)
        if (pid == command)
          sys (__NR_exit_group, status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
    }
}

/* A group of its own in the terminal's foreground, or Ctrl-C would come twice: from the
 * terminal, and passed on by us.  And the wish to die with the launcher, which a child does
 * not inherit, for where no pid namespace ends the one with the other: prctl(2). */
static void
stand_alone (long parent, int death_signal)
{
  int group = (int)sys (__NR_getpid);
  sys (__NR_setpgid, 0, 0);
  sys (__NR_ioctl, 0, TIOCSPGRP, &group); /* ENOTTY without a terminal of ours */
  if (death_signal == 0)
    return;
  sys (__NR_prctl, PR_SET_PDEATHSIG, death_signal, 0, 0, 0);
  if (sys (__NR_getppid) != parent)
    sys (__NR_exit_group, 127);
}

/* The rest of the plan goes on in a child, and this process becomes its init.  All
 * signals are blocked in between, so that none is lost. */
int
step_reap (struct run *run, struct step *step)
{
  (void)step;
  const uint64_t all = ~(uint64_t)0, none = 0;
  int death_signal = 0;
  sys (__NR_prctl, PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
  long self = sys (__NR_getpid);
  sys (__NR_rt_sigprocmask, SET_MASK, &all, NULL, MASK_SIZE);
  /* Not clone3: filters answer it with ENOSYS, for they cannot look into its struct. */
  long pid = attempt (run, __NR_clone, SIGCHLD, 0, 0, 0, 0);
  if (pid > 0)
    {
      sys (__NR_close_range, 0, ~0U, 0);
      reap_until (pid);
    }
  if (pid == 0)
    stand_alone (self, death_signal);
  sys (__NR_rt_sigprocmask, SET_MASK, &none, NULL, MASK_SIZE);
  return (int)pid;
}

/* A command's paths are tried in order, as a shell tries PATH.  Of several failures the most
 * telling is reported: execvp(3). */
static int
is_worse (long error)
{
  return error != -ENOENT && error != -ENOTDIR;
}

static long
try_next (long *worst, long error)
{
  if (is_worse (error) || !is_worse (*worst))
    *worst = error;
  return error == -ENOENT || error == -ENOTDIR || error == -EACCES;
}

static long
may_execute (const char *path)
{
  struct statx stat;
  long done = sys (__NR_statx, AT_FDCWD, path, 0, STATX_TYPE, &stat);
  if (done >= 0 && (stat.stx_mode & S_IFMT) == S_IFDIR)
    return -EACCES; /* as execve says it */
  return done < 0 ? done : sys (__NR_faccessat2, AT_FDCWD, path, 1 /* X_OK */, AT_EACCESS);
}

/* What can be known of the command before it is executed, told as if it had been. */
static int
look_for_command (struct run *run, char **paths)
{
  long worst = -ENOENT, done = -ENOENT;
  for (; *paths != NULL; paths++)
    if ((done = may_execute (*paths)) >= 0 || !try_next (&worst, done))
      break;
  if (done >= 0)
    return 0;
  run->index = run->plan->count - 1;
  return (int)note (run, __NR_execve, worst);
}

/* The container is created, and whoever created it may go.  d: a listening socket, among the
 * plan's own descriptors, at which somebody says one day that it is to start; what fails after
 * that is told to them, and exec ends the talk.  a: the command's paths. */
int
step_await_start (struct run *run, struct step *step)
{
  const int listener = own_fd (run, step->d);
  char **paths = list_of (step, step->a);
  int done = paths == NULL || listener < 0 ? -EINVAL : look_for_command (run, paths);
  if (done >= 0)
    done = step_wait (run, step);
  if (done < 0)
    return done;
  char word;
  int caller;
  do
    {
      caller = (int)sys (__NR_accept4, listener, NULL, NULL, O_CLOEXEC);
      if (caller >= 0 && sys (__NR_read, caller, &word, 1) == 1)
        break;
      close_fd (&caller); /* it has thought better of it, or was killed */
    }
  while (caller >= 0 || caller == -EINTR || caller == -ECONNABORTED);
  sys (__NR_close, listener);
  if (caller < 0)
    return (int)note (run, __NR_accept4, caller);
  done = (int)attempt (run, __NR_dup3, caller, run->report, O_CLOEXEC);
  sys (__NR_close, caller);
  return done < 0 ? done : 0;
}

/* a: the paths; b: argv; c: environment. */
int
step_exec (struct run *run, struct step *step)
{
  char **paths = list_of (step, step->a);
  char **argv = list_of (step, step->b);
  char **environment = list_of (step, step->c);
  if (paths == NULL || argv == NULL || environment == NULL)
    return -EINVAL;

  long done = close_what_is_ours (run);
  long worst = done < 0 ? done : -ENOENT;
  for (; done >= 0 && *paths != NULL; paths++)
    if (!try_next (&worst, sys (__NR_execve, *paths, argv, environment)))
      break;
  return done < 0 ? (int)done : (int)note (run, __NR_execve, worst);
}
