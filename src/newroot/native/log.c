/* log.c: entries in Docker's json-file form or the CRI's plain one, and their rotation.
 *
 * An entry is written whole or not at all, and never in two files.  What a full disk does
 * not take is counted, and the log says so itself as soon as it can be written again: to
 * hold a service up for its log would be worse. */

#include "log.h"

#include "sys.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/time.h>

enum
{
  WORST_BYTE = 6,   /* \u0000 */
  WORST_HEAD = 128, /* all of an entry but its line */
  WORST_ENTRY = MOST_IN_LINE * WORST_BYTE + WORST_HEAD,
  TIME_LENGTH = 30, /* 2026-11-22T04:36:28.123456789Z */
  MOST_FILES = 99
};

/* What is not written yet; it never outlives a call. */
static struct
{
  size_t used;
  char bytes[2 * WORST_ENTRY];
} out;

static void
put (const char *text, size_t count)
{
  memcpy (out.bytes + out.used, text, count);
  out.used += count;
}

static void
put_text (const char *text)
{
  put (text, length_of (text));
}

/* ---- time ---- */

static void
write_digits (char *to, int64_t value, size_t width)
{
  for (size_t i = width; i-- > 0; value /= 10)
    to[i] = (char)('0' + value % 10);
}

/* RFC 3339 in UTC with nanoseconds.  The calendar is counted from 1 March, so that the day
 * a leap year adds is a year's last. */
static void
write_time (char *text, int64_t seconds, int64_t nanoseconds)
{
  const int64_t march_0000 = 719468; /* days before 1970-01-01 */
  int64_t days = seconds / 86400 + march_0000, rest = seconds % 86400;
  int64_t era = days / 146097, day = days % 146097;
  int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
  day -= 365 * year + year / 4 - year / 100;
  int64_t month = (5 * day + 2) / 153;
  day -= (153 * month + 2) / 5;
  month += month < 10 ? 3 : -9;
  year += era * 400 + (month <= 2);

  memcpy (text, "0000-00-00T00:00:00.000000000Z", TIME_LENGTH);
  write_digits (text, year, 4);
  write_digits (text + 5, month, 2);
  write_digits (text + 8, day + 1, 2);
  write_digits (text + 11, rest / 3600, 2);
  write_digits (text + 14, rest / 60 % 60, 2);
  write_digits (text + 17, rest % 60, 2);
  write_digits (text + 20, nanoseconds, 9);
}

/* ---- one line ---- */

/* How many bytes the character at *at* has; 0 when it is none (RFC 3629). */
static size_t
character (const unsigned char *at, size_t left)
{
  unsigned char first = at[0];
  if (first < 0x80)
    return 1;
  size_t count = first >= 0xc2 && first < 0xe0   ? 2
                 : first >= 0xe0 && first < 0xf0 ? 3
                 : first >= 0xf0 && first < 0xf5 ? 4
                                                 : 0;
  if (count == 0 || count > left)
    return 0;
  /* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
  unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (at[1] < low || at[1] > high)
    return 0;
  for (size_t i = 2; i < count; i++)
    if (at[i] < 0x80 || at[i] > 0xbf)
      return 0;
  return count;
}

static void
put_escaped (unsigned char byte)
{
  static const char digits[] = "0123456789abcdef";
  char text[] = "\\u0000";
  const char *brief = byte == '\n'   ? "\\n"
                      : byte == '\r' ? "\\r"
                      : byte == '\t' ? "\\t"
                      : byte == '"'  ? "\\\""
                      : byte == '\\' ? "\\\\"
                                     : NULL;
  text[4] = digits[byte >> 4];
  text[5] = digits[byte & 15];
  put_text (brief != NULL ? brief : text);
}

static int
stands_for_itself (unsigned char byte)
{
  return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

/* A JSON string holds characters: a byte that is none becomes U+FFFD, as Docker has it. */
static void
put_json_string (const char *text, size_t count)
{
  const unsigned char *at = (const unsigned char *)text, *end = at + count;
  put ("\"", 1);
  while (at < end)
    {
      const unsigned char *plain = at;
      while (at < end && stands_for_itself (*at))
        at++;
      put ((const char *)plain, (size_t)(at - plain));
      if (at == end)
        break;
      size_t length = character (at, (size_t)(end - at));
      if (length > 1)
        put ((const char *)at, length);
      else if (length == 1)
        put_escaped (*at);
      else
        put_text ("\\ufffd");
      at += length > 1 ? length : 1;
    }
  put ("\"", 1);
}

static void
put_entry (const struct log *log, const char *name, const char *time, const char *line, size_t n)
{
  if (log->plain)
    {
      int whole = n > 0 && line[n - 1] == '\n';
      put (time, TIME_LENGTH);
      put (" ", 1);
      put_text (name);
      put (whole ? " F " : " P ", 3);
      put (line, n - (size_t)whole);
      put ("\n", 1);
      return;
    }
  put_text ("{\"log\":");
  put_json_string (line, n);
  put_text (",\"stream\":\"");
  put_text (name);
  put_text ("\",\"time\":\"");
  put (time, TIME_LENGTH);
  put_text ("\"}\n");
}

/* ---- files ---- */

/* "log" for 0, else "log.N". */
static const char *
name_of (char *text, uint32_t number)
{
  memcpy (text, "log.00", 7);
  if (number == 0)
    text[3] = 0;
  else if (number < 10)
    write_digits (text + 4, number, 1), text[5] = 0;
  else
    write_digits (text + 4, number, 2);
  return text;
}

long
log_open (struct log *log)
{
  struct statx stat;
  if (log->files == 0 || log->files > MOST_FILES)
    return -EINVAL;
  long fd = sys (__NR_openat, log->directory, "log",
                 O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (fd < 0)
    return fd;
  long done = sys (__NR_statx, fd, "", 0x1000 /* AT_EMPTY_PATH */, STATX_SIZE, &stat);
  log->file = (int)fd;
  log->size = done < 0 ? 0 : stat.stx_size;
  return done;
}

/* The oldest goes, each other one becomes one older.  When that fails the log goes on where
 * it is: too long a file is better than a lost line. */
static void
rotate (struct log *log)
{
  char from[8], to[8];
  if (log->files == 1)
    {
      if (sys (__NR_ftruncate, log->file, 0) == 0)
        log->size = 0;
      return;
    }
  for (uint32_t number = log->files - 1; number > 0; number--)
    sys (__NR_renameat2, log->directory, name_of (from, number - 1), log->directory,
         name_of (to, number), 0);
  int old = log->file;
  if (log_open (log) == 0)
    close_fd (&old);
}

/* The first *count* bytes of what is to be written.  Of a write that the disk took in part
 * nothing stays, so that no entry is torn. */
static void
flush (struct log *log, size_t count)
{
  if (count == 0)
    return;
  long n = sys (__NR_write, log->file, out.bytes, count);
  if (n == (long)count)
    log->size += count;
  else
    {
      if (n > 0)
        sys (__NR_ftruncate, log->file, log->size);
      log->lost += count;
    }
  out.used -= count;
  for (size_t i = 0; i < out.used; i++)
    out.bytes[i] = out.bytes[count + i];
}

static void
add (struct log *log, const char *name, const char *time, const char *line, size_t count)
{
  if (sizeof out.bytes - out.used < WORST_ENTRY)
    flush (log, out.used);
  size_t before = out.used;
  put_entry (log, name, time, line, count);
  if (log->most == 0 || log->size + out.used <= log->most || log->size + before == 0)
    return;
  flush (log, before);
  rotate (log);
}

static void
say_what_is_lost (struct log *log, const char *time)
{
  uint64_t lost = log->lost, tens = 1;
  size_t width = 1;
  char line[128];
  while (lost / tens >= 10)
    tens *= 10, width++;
  memcpy (line, "newroot: the disk did not take ", 31);
  write_digits (line + 31, (int64_t)lost, width);
  memcpy (line + 31 + width, " bytes of this log\n", 19);
  log->lost = 0;
  add (log, "stderr", time, line, 31 + width + 19);
  flush (log, out.used);
  if (log->lost > 0)
    log->lost = lost; /* not yet */
}

static void
now (char *time)
{
  int64_t at[2] = { 0, 0 };
  sys (__NR_clock_gettime, CLOCK_REALTIME, at);
  write_time (time, at[0], at[1]);
}

/* Where to end an entry of a line that is too long: not inside a character. */
static size_t
whole_characters (const char *line, size_t count)
{
  for (size_t back = 1; back <= 3 && back < count; back++)
    {
      unsigned char byte = (unsigned char)line[count - back];
      size_t wants = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
      if (wants > 1)
        return wants > back ? count - back : count;
      if (byte < 0x80)
        break;
    }
  return count;
}

void
log_take (struct log *log, struct stream *stream, const char *bytes, size_t count)
{
  char time[TIME_LENGTH];
  now (time);
  if (log->lost > 0)
    say_what_is_lost (log, time);
  for (size_t i = 0; i < count; i++)
    {
      stream->line[stream->held++] = bytes[i];
      if (bytes[i] != '\n' && stream->held < MOST_IN_LINE)
        continue;
      size_t ends = bytes[i] == '\n' ? stream->held : whole_characters (stream->line, stream->held);
      add (log, stream->name, time, stream->line, ends);
      stream->held -= ends;
      for (size_t k = 0; k < stream->held; k++)
        stream->line[k] = stream->line[ends + k];
    }
  flush (log, out.used);
}

void
log_end (struct log *log, struct stream *stream)
{
  char time[TIME_LENGTH];
  now (time);
  if (stream->held > 0)
    add (log, stream->name, time, stream->line, stream->held);
  stream->held = 0;
  flush (log, out.used);
}
