/* notes.c: what a monitor writes down for others to read, each file whole or not at all. */

#include "notes.h"

#include "sys.h"

#include <asm/fcntl.h>
#include <asm/siginfo.h>
#include <linux/fcntl.h>
#include <linux/time.h>

/* Whole, or not at all. */
static void
note_file (int directory, const char *name, const char *beside, const char *text, size_t count)
{
  int fd = (int)sys (__NR_openat, directory, beside,
                     O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return;
  long n = sys (__NR_write, fd, text, count);
  if (n == (long)count && sys (__NR_fsync, fd) == 0)
    sys (__NR_renameat2, directory, beside, directory, name, 0);
  sys (__NR_close, fd);
}

static size_t
append (char *text, size_t used, const char *words)
{
  size_t n = length_of (words);
  memcpy (text + used, words, n);
  return used + n;
}

static size_t
append_number (char *text, size_t used, uint64_t value)
{
  uint64_t tens = 1;
  while (value / tens >= 10)
    tens *= 10;
  for (; tens > 0; tens /= 10)
    text[used++] = (char)('0' + value / tens % 10);
  return used;
}

char *
in_words (char *text, uint64_t value)
{
  text[append_number (text, 0, value)] = 0;
  return text;
}

/* One write, in the form of linux/journal.py.  Shared with other writers: who turns the file waits
 * for none of us to be in the middle. */
void
note_event (int directory, const char *id, const char *action, int exit_code)
{
  char text[256];
  int64_t at[2] = { 0, 0 };
  int CLEANUP_FD fd = (int)sys (__NR_openat, directory, "log",
                                O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return;
  sys (__NR_clock_gettime, CLOCK_REALTIME, at);
  size_t n = append (text, 0, "\n{\"time\":");
  n = append_number (text, n, (uint64_t)(at[0] * 1000000000 + at[1]));
  n = append (text, n, ",\"type\":\"container\",\"action\":\"");
  n = append (text, n, action);
  n = append (text, n, "\",\"id\":\"");
  memcpy (text + n, id, 64);
  n = append (text, n + 64, "\",\"attributes\":{");
  if (exit_code >= 0)
    {
      n = append (text, n, "\"exitCode\":\"");
      n = append_number (text, n, (uint64_t)exit_code);
      n = append (text, n, "\"");
    }
  n = append (text, n, "}}\n");
  sys (__NR_flock, fd, 1 /* LOCK_SH */);
  sys (__NR_write, fd, text, n);
}

/* exit.json, as container/start.py writes it for a container in the foreground. */
void
note_end (int directory, int code, int value, uint32_t restarts)
{
  char text[256];
  int64_t at[2] = { 0, 0 };
  sys (__NR_clock_gettime, CLOCK_REALTIME, at);
  int exited = code == CLD_EXITED;
  size_t n = append (text, 0,
                     exited ? "{\"signal\":null,\"exitCode\":" : "{\"exitCode\":null,\"signal\":");
  n = append_number (text, n, (uint64_t)value);
  n = append (text, n, ",\"restarts\":");
  n = append_number (text, n, restarts);
  n = append (text, n, ",\"finished\":");
  n = append_number (text, n, (uint64_t)at[0]);
  text[n++] = '.';
  for (int64_t tens = 100000000; tens > 0; tens /= 10)
    text[n++] = (char)('0' + at[1] / tens % 10);
  n = append (text, n, "}");
  note_file (directory, "exit.json", "exit.json.new", text, n);
}

/* When the process began is the 22nd word of its stat, the 20th after its name: proc(5). */
static uint64_t
start_ticks (int32_t pid)
{
  char path[32], text[512];
  size_t used = append (path, 0, "/proc/");
  used = append_number (path, used, (uint64_t)pid);
  used = append (path, used, "/stat");
  path[used] = 0;
  int CLEANUP_FD fd = (int)sys (__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  long n = fd < 0 ? fd : sys (__NR_read, fd, text, sizeof text);
  long at = n - 1;
  while (at >= 0 && text[at] != ')')
    at--;
  if (at < 0)
    return 0;
  for (int words = 0; at < n && words < 20; at++)
    words += text[at] == ' ';
  uint64_t ticks = 0;
  for (; at < n && text[at] >= '0' && text[at] <= '9'; at++)
    ticks = ticks * 10 + (uint64_t)(text[at] - '0');
  return ticks;
}

/* As Claim.write_pid() does at the first start, and how often it began anew. */
void
note_pid (int directory, int32_t pid, uint32_t restarts)
{
  char text[96];
  size_t n = append_number (text, 0, (uint64_t)pid);
  text[n++] = ' ';
  n = append_number (text, n, start_ticks (pid));
  text[n++] = ' ';
  n = append_number (text, n, restarts);
  text[n++] = '\n';
  note_file (directory, "pid", "pid.new", text, n);
}
