/* birth.c: namespaces that others made are joined, and a process is born there.
 *
 * setns(2) and unshare(2) leave the caller's own process id where it was: only a child is
 * in the pid namespace.  So a plan that joins is begun by one process, which is in the
 * namespaces of whoever asked but for those that it joins, and goes on in another. */

#include "steps.h"

#include "packet.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/sched.h>

/* d: a pidfd or a namespace, among the plan's own descriptors; x: CLONE_NEW*, all joined at
 * once, so that the kernel asks for each with the rights that the others give: setns(2). */
int
step_join_process (struct run *run, struct step *step)
{
  return (int)attempt (run, __NR_setns, own_fd (run, step->d), step->x);
}

/* x: CLONE_NEW*.  The child is our parent's, as we are, so that the launcher hears of its end.
 * It waits until the launcher knows of it: until then nobody would end it with the launcher,
 * and without a word it finds the door closed. */
int
step_birth (struct run *run, struct step *step)
{
  int pidfd = -1;
  struct clone_args args
      = { .flags = step->x | CLONE_PARENT | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd };
  if (!(run->flags & WANT_BIRTH))
    return -EINVAL; /* nobody listens */
  long pid = attempt (run, __NR_clone3, &args, sizeof args);
  if (pid < 0)
    return (int)pid;
  if (pid > 0)
    {
      int32_t born = (int32_t)pid; /* as the launcher counts, whose pid namespace is still ours */
      send_packet (run->birth, &born, sizeof born, &pidfd, 1);
      for (;;)
        sys (__NR_exit_group, 0);
    }
  char word;
  run->born_in |= step->x;
  return sys (__NR_read, run->birth, &word, 1) == 1 ? 0 : -ECANCELED;
}
