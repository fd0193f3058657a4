/* sys.h: the kernel, without a C library.
 *
 * Every call returns what the kernel returns: a result, or -errno.  There is no
 * errno variable, no malloc, no stdio and no lock anywhere in newroot-init, so all
 * of it may run between clone and exec (signal-safety(7)). */

#ifndef NEWROOT_SYS_H
#define NEWROOT_SYS_H

#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>
#include <linux/errno.h>

#if defined __x86_64__
static inline long
sys6 (long n, long a, long b, long c, long d, long e, long f)
{
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined __aarch64__
static inline long
sys6 (long n, long a, long b, long c, long d, long e, long f)
{
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
}
#else
#error "newroot-init knows x86_64 and aarch64"
#endif

#define SYS_PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define SYS_0(n) sys6 (n, 0, 0, 0, 0, 0, 0)
#define SYS_1(n, a) sys6 (n, (long)(a), 0, 0, 0, 0, 0)
#define SYS_2(n, a, b) sys6 (n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS_3(n, a, b, c) sys6 (n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS_4(n, a, b, c, d) sys6 (n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS_5(n, a, b, c, d, e) sys6 (n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS_6(n, a, b, c, d, e, f)                                                                 \
  sys6 (n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* sys (__NR_name, arguments...): the call, and nothing around it. */
#define sys(...)                                                                                   \
  SYS_PICK (__VA_ARGS__, SYS_6, SYS_5, SYS_4, SYS_3, SYS_2, SYS_1, SYS_0) (__VA_ARGS__)

/* Closed when the variable goes out of scope. */
static inline void
close_fd (int *fd)
{
  if (*fd >= 0)
    sys (__NR_close, *fd);
}
#define CLEANUP_FD __attribute__ ((cleanup (close_fd)))

static inline int
keep_fd (int *fd)
{
  int kept = *fd;
  *fd = -1;
  return kept;
}

static inline size_t
length_of (const char *text)
{
  size_t n = 0;
  while (text[n] != 0)
    n++;
  return n;
}

static inline int
same (const char *a, const char *b)
{
  while (*a != 0 && *a == *b)
    a++, b++;
  return *a == *b;
}

/* The compiler may call these for copies and clears (gcc(1), -ffreestanding). */
void *memcpy (void *to, const void *from, size_t n);
void *memset (void *to, int byte, size_t n);

#endif
