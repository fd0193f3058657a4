/* command.c: the last steps: the command itself, and a reaper in front of it. */

#include "steps.h"

#include <asm/ioctls.h>
#include <asm/signal.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
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

static int
is_worse (long error)
{
  return error != -ENOENT && error != -ENOTDIR;
}

/* a: the paths to try, in order, as a shell tries PATH; b: argv; c: environment.  Of
 * several failures the most telling is reported: execvp(3). */
int
step_exec (struct run *run, struct step *step)
{
  char **paths = list_of (step, step->a);
  char **argv = list_of (step, step->b);
  char **environment = list_of (step, step->c);
  if (paths == NULL || argv == NULL || environment == NULL)
    return -EINVAL;

  /* What the command was not given it does not get: CVE-2016-9962, CVE-2024-21626. */
  long done = attempt (run, __NR_close_range, 3 + run->passed, ~0U, CLOSE_RANGE_CLOEXEC);
  if (done < 0)
    return (int)done;
  long error = -ENOENT;
  for (; *paths != NULL; paths++)
    {
      done = sys (__NR_execve, *paths, argv, environment);
      if (is_worse (done) || !is_worse (error))
        error = done;
      if (done != -ENOENT && done != -ENOTDIR && done != -EACCES)
        break;
    }
  return (int)note (run, __NR_execve, error);
}
