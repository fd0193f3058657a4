/* log.h: what a detached container says, kept on disk a line at a time. */

#ifndef NEWROOT_LOG_H
#define NEWROOT_LOG_H

#include <stddef.h>
#include <stdint.h>

enum
{
  MOST_IN_LINE = 16384 /* a longer line is several entries, as Docker has them */
};

struct log
{
  int directory; /* "log" is here, and "log.1" and so on when there were more */
  int file;
  uint32_t plain; /* "TIME STREAM F line", as the CRI has it, in place of Docker's JSON */
  uint32_t files; /* how many are kept, the one that is written included */
  uint64_t most;  /* bytes in one of them; 0: no limit */
  uint64_t size;  /* of the one that is written */
  uint64_t lost;  /* bytes that the disk did not take, until that has been said */
};

/* One source of lines, and the beginning of one that has not ended. */
struct stream
{
  const char *name;
  size_t held;
  char line[MOST_IN_LINE];
};

/* Goes on with the log in log->directory, or begins one.  0 or -errno. */
long log_open (struct log *log);

/* Whole lines are written before it returns, by as few writes as it takes. */
void log_take (struct log *log, struct stream *stream, const char *bytes, size_t count);

/* What is held of a line that will not end is written too. */
void log_end (struct log *log, struct stream *stream);

#endif
