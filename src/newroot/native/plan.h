/* plan.h: a plan that was checked, and the state of running it. */

#ifndef NEWROOT_PLAN_H
#define NEWROOT_PLAN_H

#include "sys.h"
#include "wire.h"

#define MAX_STEPS 1024           /* a plan has some fifty; bounds the times table */
#define MAX_TREES 64             /* held until a bind puts them in their place */
#define INIT_NAME "newroot-init" /* what a process of ours calls itself: oci_state.py */

/* What the steps of one plan share while they run. */
struct run
{
  struct plan *plan;
  uint64_t born_in;     /* CLONE_NEW*: namespaces that clone made already */
  int report;           /* socket to Python, closed by exec */
  int launcher;         /* pidfd: readable when the launcher is dead */
  int birth;            /* socket to the launcher, for STEP_BIRTH */
  int own;              /* the first of the plan's own descriptors */
  int owned;            /* how many those are */
  int root;             /* the new root, O_PATH; -1 before STEP_USE_ROOT */
  int passed;           /* descriptors 3 … 3+passed-1 belong to the command */
  int is_there;         /* in its working directory, which the user might not enter */
  int closed;           /* whether exec will close what the command was not given */
  int null;             /* the host's /dev/null, O_PATH; -1 before the first mask */
  int empty;            /* an empty read-only tmpfs; -1 before the first masked directory */
  int trees[MAX_TREES]; /* by STEP_HOLD_TREE; 0 is none */
  uint32_t index;       /* of the step that runs */
  uint32_t call;        /* the last call that failed */
  uint32_t flags;       /* of the request */
  char log[sizeof ((struct report *)0)->log];
};

int plan_check (struct plan *plan, size_t size);
struct step *plan_first (struct plan *plan);
struct step *plan_next (struct step *step);

/* A step's text at an offset that plan_check() and the step's own check accepted. */
const char *text_of (const struct step *step, uint32_t offset);
char **list_of (struct step *step, uint32_t offset);

/* note (run, __NR_x, result): remembers which call failed; attempt() makes the call too. */
static inline long
note (struct run *run, uint32_t call, long result)
{
  if (result < 0)
    run->call = call;
  return result;
}
#define CALL_OF(call, ...) call
#define attempt(run, ...) note ((run), CALL_OF (__VA_ARGS__, 0), sys (__VA_ARGS__))

/* What the command was not given it does not get: CVE-2016-9962, CVE-2024-21626.  Asked for
 * before a filter is loaded, which then need not allow it; nothing is opened afterwards. */
long close_what_is_ours (struct run *run);

/* The plan's own descriptor of a number, or -EBADF. */
static inline int
own_fd (const struct run *run, uint32_t number)
{
  return number < (uint32_t)run->owned ? run->own + (int)number : -EBADF;
}

_Noreturn void run_plan (struct run *run);
void send_report (const struct run *run, uint32_t kind, int error);

#endif
