/* start.c: the commands newroot and newroot-oci: start the Python beside this file, and little of
 * it.
 *
 * -I: no PYTHONPATH, no user site, no current directory, for we often run as root.  -S: no site,
 * a quarter of an interpreter's start; start.py adds the one directory that is needed.  Neither
 * survives in a wheel's "#!python" line, where pip drops the arguments, and a shell script costs
 * twice what this costs: docs/decisions/0003-start-program.md.  No C library, as in newroot-init.
 */

#include <linux/fcntl.h>
#include <linux/limits.h>

#include "../native/sys.h"

enum
{
  NEWEST_MINOR = 40, /* of Python 3 */
  OLDEST_MINOR = 11,
  EXIT_ENGINE = 125, /* docker-run(1): the failure is ours, not the container's */
};

struct path
{
  size_t length;
  char text[2 * PATH_MAX];
};

static void
append (struct path *path, const char *text)
{
  while (*text != 0 && path->length + 1 < sizeof path->text)
    path->text[path->length++] = *text++;
  path->text[path->length] = 0;
}

static void
append_minor (struct path *path, int minor)
{
  const char digits[] = { (char)('0' + minor / 10), (char)('0' + minor % 10), 0 };
  append (path, "python3.");
  append (path, digits);
}

static int
is_there (const struct path *path)
{
  return sys (__NR_faccessat, AT_FDCWD, path->text, 0) == 0;
}

/* "BIN/../lib/python3.11/site-packages/newroot/cli/start.py", if it is there; Debian's own Python
 * has dist-packages. */
static int
find_start (struct path *file, const char *bin, int minor)
{
  static const char *const packages[] = { "/site-packages", "/dist-packages" };
  for (int i = 0; i < 2; i++)
    {
      file->length = 0;
      append (file, bin);
      append (file, "/../lib/");
      append_minor (file, minor);
      append (file, packages[i]);
      append (file, "/newroot/cli/start.py");
      if (is_there (file))
        return 1;
    }
  return 0;
}

static int
is_virtual_environment (const char *bin)
{
  struct path config = { .length = 0 };
  append (&config, bin);
  append (&config, "/../pyvenv.cfg");
  return is_there (&config);
}

/* Returns only when there is no such interpreter. */
static void
execute (const char *directory, int minor, const char **arguments, char **environment)
{
  struct path python = { .length = 0 };
  append (&python, directory);
  append (&python, "/");
  append_minor (&python, minor);
  arguments[0] = python.text;
  sys (__NR_execve, python.text, arguments, environment);
}

static void
start (const char *self, const char *bin, int argc, char **argv, char **environment)
{
  /* The pointers take no more than the kernel has laid on this stack already: execve(2). */
  const char **arguments = __builtin_alloca (((size_t)argc + 6) * sizeof *arguments);
  int is_venv = is_virtual_environment (bin);
  for (int minor = OLDEST_MINOR; minor <= NEWEST_MINOR; minor++)
    {
      struct path file = { .length = 0 };
      int n = 1;
      if (!find_start (&file, bin, minor))
        continue;
      arguments[n++] = "-I";
      if (is_venv) /* all that newroot needs is in the one directory */
        arguments[n++] = "-S";
      arguments[n++] = file.text;
      arguments[n++] = self;
      for (int i = 1; i < argc; i++)
        arguments[n++] = argv[i];
      arguments[n] = 0;
      execute (bin, minor, arguments, environment);
      execute ("/usr/bin", minor, arguments, environment); /* pip install --user, /usr/local */
    }
}

static void
say (const char *text)
{
  sys (__NR_write, 2, text, length_of (text));
}

__attribute__ ((used)) _Noreturn static void
begin (const long *stack)
{
  int argc = (int)stack[0];
  char **argv = (char **)(stack + 1);
  static char self[PATH_MAX], bin[PATH_MAX];
  /* Not argv[0]: this way a link to the command in another directory works. */
  long length = sys (__NR_readlinkat, AT_FDCWD, "/proc/self/exe", self, sizeof self - 1);
  if (length > 0)
    {
      memcpy (bin, self, (size_t)length);
      while (length > 0 && bin[length] != '/')
        bin[length--] = 0;
      bin[length] = 0;
      start (self, bin, argc, argv, argv + argc + 1);
    }
  say ("newroot: cannot find Python and the newroot package beside ");
  say (self[0] != 0 ? self : "/proc/self/exe");
  say ("\nhint: this command works where pip has put it; make a link to it, not a copy\n");
  for (;;)
    sys (__NR_exit_group, EXIT_ENGINE);
}

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
