/* plan_driver.c: reads plans from standard input, each behind its size, and does with them all
 * that newroot-init does before a step is carried out.  Built under the sanitizers; each plan is
 * in a block of exactly its size, so that a byte read beside it is a finding. */

#include "plan.h"

/* Of the C library; its headers and the kernel's do not go together in one file. */
void *malloc (size_t size);
void free (void *block);
size_t strlen (const char *text);
long read (int fd, void *to, size_t size);
int printf (const char *format, ...);
void *memcpy (void *to, const void *from, size_t n);

static int
read_all (void *to, size_t size)
{
  for (size_t done = 0; done < size;)
    {
      long n = read (0, (char *)to + done, size - done);
      if (n <= 0)
        return 0;
      done += (size_t)n;
    }
  return 1;
}

static size_t
look_at_list (struct step *step, uint32_t offset)
{
  size_t seen = 0;
  char **list = list_of (step, offset);
  for (; list != NULL && *list != NULL; list++)
    seen += strlen (*list);
  return seen;
}

static size_t
look_at (const struct step *step)
{
  size_t seen = 0;
  for (int i = 0; i < 3; i++)
    {
      uint32_t offset = (const uint32_t[]){ step->a, step->b, step->c }[i];
      if (offset != 0)
        seen += strlen (text_of (step, offset));
      struct step *copy = malloc (step->size); /* list_of() changes what it reads */
      memcpy (copy, step, step->size);
      seen += look_at_list (copy, offset);
      free (copy);
    }
  return seen;
}

int
main (void)
{
  uint32_t size;
  unsigned sound = 0, refused = 0;
  size_t seen = 0;
  while (read_all (&size, sizeof size))
    {
      struct plan *plan = malloc (size);
      if (!read_all (plan, size))
        return 1;
      if (plan_check (plan, size) < 0)
        refused++;
      else
        {
          struct step *step = plan_first (plan);
          for (uint32_t i = 0; i < plan->count; i++, step = plan_next (step))
            seen += look_at (step);
          sound++;
        }
      free (plan);
    }
  printf ("%u %u %zu\n", sound, refused, seen);
  return 0;
}
