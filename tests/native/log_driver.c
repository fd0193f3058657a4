/* log_driver.c: writes a log as a monitor does, from frames on standard input: a byte for the
 * stream, a size, then as many bytes.  Built under the sanitizers.  Arguments: directory, plain
 * (0 or 1), files, bytes in one. */

#include "log.h"

#include <asm/fcntl.h>

/* Of the C library; its headers and the kernel's do not go together in one file. */
int open (const char *path, int flags, ...);
long read (int fd, void *to, size_t size);
long atol (const char *text);

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

static struct stream streams[2] = { { .name = "stdout" }, { .name = "stderr" } };
static char bytes[1 << 20];

int
main (int argc, char **argv)
{
  if (argc != 5)
    return 2;
  struct log log = { .directory = open (argv[1], O_RDONLY | O_DIRECTORY),
                     .plain = (uint32_t)atol (argv[2]),
                     .files = (uint32_t)atol (argv[3]),
                     .most = (uint64_t)atol (argv[4]) };
  if (log_open (&log) < 0)
    return 3;
  unsigned char which;
  uint32_t size;
  while (read_all (&which, 1) && read_all (&size, sizeof size) && size <= sizeof bytes
         && read_all (bytes, size))
    log_take (&log, &streams[which & 1], bytes, size);
  log_end (&log, &streams[0]);
  log_end (&log, &streams[1]);
  return 0;
}
