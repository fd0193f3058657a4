/* notes.h: how a detached container ended, and which process is its first. */

#ifndef NEWROOT_NOTES_H
#define NEWROOT_NOTES_H

#include <stdint.h>

/* exit.json in the container's directory; *code* and *value* are waitid(2)'s. */
void note_end (int directory, int code, int value, uint32_t restarts);

/* pid in its run directory. */
void note_pid (int directory, int32_t pid, uint32_t restarts);

#endif
