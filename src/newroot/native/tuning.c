/* tuning.c: how the kernel treats the process: its share of the processors, of the disks
 * and of memory, and the personality it sees.  All of it goes over exec to the command. */

#include "steps.h"

#include <linux/ioprio.h>

static int
has (const struct step *step, size_t size)
{
  return step->a != 0 && step->size - step->a >= size;
}

/* a: struct sched_attr, which begins with its own size: sched_setattr(2). */
int
step_set_scheduler (struct run *run, struct step *step)
{
  const uint32_t *attr = (const void *)text_of (step, step->a);
  if (!has (step, sizeof *attr) || !has (step, *attr))
    return -EINVAL;
  return (int)attempt (run, __NR_sched_setattr, 0, attr, 0);
}

/* a: a mask of processors; x: its bytes: sched_setaffinity(2). */
int
step_set_affinity (struct run *run, struct step *step)
{
  if (!has (step, step->x))
    return -EINVAL;
  long done = attempt (run, __NR_sched_setaffinity, 0, step->x, text_of (step, step->a));
  return done < 0 ? (int)done : 0;
}

/* x: class << 13 | priority: ioprio_set(2). */
int
step_set_io_priority (struct run *run, struct step *step)
{
  return (int)attempt (run, __NR_ioprio_set, IOPRIO_WHO_PROCESS, 0, step->x);
}

/* a: a mask of memory nodes, or none; y: its bits; x: mode and flags: set_mempolicy(2). */
int
step_set_memory_policy (struct run *run, struct step *step)
{
  if (step->y > 8 * 4096 || !has (step, step->y / 8))
    return -EINVAL;
  const char *nodes = step->y == 0 ? NULL : text_of (step, step->a);
  return (int)attempt (run, __NR_set_mempolicy, step->x, nodes, step->y);
}

/* x: PER_*: personality(2), which answers with the one before. */
int
step_set_personality (struct run *run, struct step *step)
{
  long done = attempt (run, __NR_personality, step->x);
  return done < 0 ? (int)done : 0;
}
