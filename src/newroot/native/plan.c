/* plan.c: a plan's bytes are checked once, so that no step needs to doubt them. */

#include "plan.h"

enum
{
  A = 1,
  B = 2,
  C = 4
};

/* The texts that an op cannot do without. */
static const uint8_t texts[STEP_COUNT] = {
  [STEP_SET_NAMESPACE] = A,
  [STEP_JOIN_CGROUP] = A,
  [STEP_SET_PROPAGATION] = A,
  [STEP_MAKE_DIR] = A,
  [STEP_WRITE_FILE] = A | B,
  [STEP_MOUNT_FS] = A | B | C,
  [STEP_MOUNT_OVERLAY] = A | B,
  [STEP_BIND_MOUNT] = A | B,
  [STEP_USE_ROOT] = A,
  [STEP_SET_ATTR] = A,
  [STEP_MAKE_NODE] = A,
  [STEP_MAKE_SYMLINK] = A | B,
  [STEP_MASK] = A,
  [STEP_MAKE_READONLY] = A,
  [STEP_SET_SYSCTL] = A | B,
  [STEP_SET_HOSTNAME] = A,
  [STEP_SET_DOMAINNAME] = A,
  [STEP_LINK_UP] = A,
  [STEP_SET_OOM_SCORE] = A | B,
  [STEP_LOAD_SECCOMP] = A,
  [STEP_SET_CWD] = A,
  [STEP_EXEC] = A | B | C,
  [STEP_HOLD_TREE] = A,
  [STEP_SET_LABEL] = A | B,
  [STEP_SET_CLOCKS] = A | B,
  [STEP_SET_SCHEDULER] = A,
  [STEP_SET_AFFINITY] = A,
  [STEP_SET_MEMORY_POLICY] = A,
  [STEP_RUN_HOOK] = A | B | C,
  [STEP_AWAIT_START] = A,
};

static int
has_its_texts (const struct step *step)
{
  unsigned given = (step->a ? A : 0) | (step->b ? B : 0) | (step->c ? C : 0);
  return (texts[step->op] & ~given) == 0;
}

static int
text_is_inside (const struct step *step, uint32_t offset)
{
  return offset == 0 || (offset >= sizeof *step && offset < step->size);
}

/* Every step ends in a zero byte, so a text that starts inside a step ends inside it. */
static int
step_is_sound (const struct step *step, size_t left)
{
  return left >= sizeof *step && step->size >= sizeof *step + 8 && step->size <= left
         && step->size % 8 == 0 && ((const char *)step)[step->size - 1] == 0 && step->op > 0
         && step->op < STEP_COUNT && text_is_inside (step, step->a)
         && text_is_inside (step, step->b) && text_is_inside (step, step->c)
         && has_its_texts (step);
}

int
plan_check (struct plan *plan, size_t size)
{
  if (size < sizeof *plan || plan->magic != PLAN_MAGIC || plan->size != size
      || plan->count > MAX_STEPS)
    return -EINVAL;

  size_t at = sizeof *plan;
  for (uint32_t i = 0; i < plan->count; i++)
    {
      const struct step *step = (const struct step *)((const char *)plan + at);
      if (!step_is_sound (step, size - at))
        return -EINVAL;
      at += step->size;
    }
  return at == size ? 0 : -EINVAL;
}

struct step *
plan_first (struct plan *plan)
{
  return (struct step *)(plan + 1);
}

struct step *
plan_next (struct step *step)
{
  return (struct step *)((char *)step + step->size);
}

const char *
text_of (const struct step *step, uint32_t offset)
{
  return offset == 0 ? NULL : (const char *)step + offset;
}

/* The list's slots become pointers, in place; NULL when the list is not sound. */
char **
list_of (struct step *step, uint32_t offset)
{
  struct list *list = (struct list *)((char *)step + offset);
  if (offset == 0 || offset % 8 != 0 || step->size - offset < sizeof *list
      || list->count >= (step->size - offset - sizeof *list) / sizeof list->slots[0])
    return NULL;
  for (uint64_t i = 0; i < list->count; i++)
    {
      if (list->slots[i] < sizeof *step || list->slots[i] >= step->size)
        return NULL;
      list->slots[i] += (uint64_t)(uintptr_t)step;
    }
  list->slots[list->count] = 0;
  return (char **)list->slots;
}
