/* main.c: newroot-init is started by newroot, with a control socket as descriptor 3 and
 * a pidfd of its owner as descriptor 4.  It is not for the hands of people. */

#include "launcher.h"
#include "plan.h"
#include "sys.h"

#include <asm/signal.h>
#include <linux/close_range.h>
#include <linux/prctl.h>

enum
{
  CONTROL_FD = 3,
  OWNER_FD = 4
};

/* glibc's posix_spawn leaves the two signals of its own threads ignored, and will not be
 * told otherwise (sysdeps/unix/sysv/linux/spawni.c).  A command would inherit that. */
static void
default_signals (void)
{
  static const uint64_t plain[4]; /* struct sigaction: SIG_DFL, no flags, no mask */
  for (int signal = 32; signal <= 33; signal++)
    sys (__NR_rt_sigaction, signal, plain, NULL, 8);
}

/* A parent of nobody, and in a session of its own: what becomes a monitor outlives both the
 * process that started it and the terminal of that. */
static void
detach (void)
{
  if (sys (__NR_clone, SIGCHLD, 0, 0, 0, 0) != 0)
    sys (__NR_exit_group, 0);
  sys (__NR_setsid);
  sys (__NR_prctl, PR_SET_NAME, "newroot-init"); /* not the number of a memfd's descriptor */
}

/* A second word, whatever it is, asks to be detached. */
static int
newroot_init (int argc)
{
  static const char words[] = "newroot-init: started by newroot, not by hand\n";
  if (argc < 1 || argc > 2 || sys (__NR_fcntl, OWNER_FD, 1 /* F_GETFD */) < 0)
    {
      sys (__NR_write, 2, words, sizeof words - 1);
      return 2;
    }
  sys (__NR_prctl, PR_SET_NAME, INIT_NAME, 0, 0, 0); /* it has the number of a descriptor */
  /* No process of a container may read or trace us, whatever its user id. */
  sys (__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  sys (__NR_close_range, OWNER_FD + 1, ~0U, 0);
  default_signals ();
  if (argc == 2)
    detach ();
  sys (__NR_close_range, CONTROL_FD, OWNER_FD, CLOSE_RANGE_CLOEXEC);
  return serve (CONTROL_FD, OWNER_FD);
}

#ifdef NEWROOT_HOSTED /* for the sanitizers, which need a C library */

int
main (int argc, char **argv)
{
  (void)argv;
  return newroot_init (argc);
}

#else

#if defined __x86_64__
__asm__(".globl _start\n"
        "_start: xor %ebp, %ebp\n"
        "mov %rsp, %rdi\n"
        "and $-16, %rsp\n"
        "call begin\n");
#elif defined __aarch64__
__asm__(".globl _start\n"
        "_start: mov x29, #0\n"
        "mov x30, #0\n"
        "mov x0, sp\n"
        "and sp, x0, #-16\n"
        "bl begin\n");
#endif

/* *stack* is what the kernel leaves there: argc, argv, environment. */
__attribute__ ((used)) _Noreturn static void
begin (const long *stack)
{
  int status = newroot_init ((int)stack[0]);
  for (;;)
    sys (__NR_exit_group, status);
}

void *
memcpy (void *to, const void *from, size_t n)
{
  unsigned char *out = to;
  const unsigned char *in = from;
  for (size_t i = 0; i < n; i++)
    out[i] = in[i];
  return to;
}

void *
memset (void *to, int byte, size_t n)
{
  unsigned char *out = to;
  for (size_t i = 0; i < n; i++)
    out[i] = (unsigned char)byte;
  return to;
}

#endif
