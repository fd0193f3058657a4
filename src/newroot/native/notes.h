/* notes.h: how a detached container ended, which process is its first, and that both happened. */

#ifndef NEWROOT_NOTES_H
#define NEWROOT_NOTES_H

#include <stdint.h>

/* exit.json in the container's directory; *code* and *value* are waitid(2)'s. */
void note_end (int directory, int code, int value, uint32_t restarts);

/* pid in its run directory. */
void note_pid (int directory, int32_t pid, uint32_t restarts);

/* A line in the journal: *action*, and an exit code unless that is negative. */
void note_event (int directory, const char *id, const char *action, int exit_code);

/* Decimal digits and a zero; returns *text*. */
char *in_words (char *text, uint64_t value);

#endif
