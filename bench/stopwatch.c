/* A stopwatch for whole processes: posix_spawn to waitpid, by CLOCK_MONOTONIC.
 *
 *   stopwatch [--cgroup2] [--private DIR]... [--threads N --count N]
 *             [--first CMDS --end] [--last CMDS --end] -- CMD [ARG...] [; CMD [ARG...]]...
 *
 * Several commands, with a word ";" between them, are timed as one, with one number.  --first and
 * --last are run once, before the first question and after the last.  Stays resident and answers
 * each line "N" on stdin with N lines of nanoseconds, one for each time that CMD ran and exited 0;
 * or, with --threads, runs it --count times from N threads and prints one line of JSON. "@" in an
 * argument becomes a number that no other run has. CMD's standard streams are /dev/null, but for
 * stderr.
 *
 * --private DIR and --cgroup2 make what follows happen in a mount namespace of its
 * own, with an empty tmpfs on DIR, or with one pure cgroup2 on /sys/fs/cgroup: what a
 * peer leaves there goes away with the stopwatch. Orphans of CMD come to us and are
 * reaped between runs, off the clock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGUMENTS 128

extern char **environ;
#define MAX_COMMANDS 8

/* Commands to run one after the other. */
struct sequence
{
  char **commands[MAX_COMMANDS];
  int count;
};

static struct sequence first, timed, last;
static int runs_per_thread;
static atomic_uint serial;
static posix_spawn_file_actions_t streams;

static _Noreturn void
fail (const char *what)
{
  fprintf (stderr, "stopwatch: %s: %s\n", what, strerror (errno));
  exit (125);
}

static uint64_t
now (void)
{
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* COMMAND with each "@" replaced by NUMBER; *text* keeps the new arguments. */
static void
number_arguments (char **command, unsigned number, char *argv[MAX_ARGUMENTS], char text[4096])
{
  char *end = text;
  int i = 0;
  for (; command[i] && i < MAX_ARGUMENTS - 1; i++)
    {
      const char *at = strchr (command[i], '@');
      argv[i] = at ? end : command[i];
      if (at)
        end += 1 + sprintf (end, "%.*s%u%s", (int)(at - command[i]), command[i], number, at + 1);
    }
  argv[i] = NULL;
}

static void
run (char **command, unsigned number)
{
  char *argv[MAX_ARGUMENTS], text[4096];
  number_arguments (command, number, argv, text);
  pid_t pid;
  int status;
  errno = posix_spawnp (&pid, argv[0], &streams, NULL, argv, environ);
  if (errno)
    fail (argv[0]);
  if (waitpid (pid, &status, 0) != pid)
    fail ("waitpid");
  if (status)
    {
      fprintf (stderr, "stopwatch: %s ended with status 0x%x\n", argv[0], status);
      exit (1);
    }
}

static uint64_t
run_once (const struct sequence *sequence)
{
  unsigned number = atomic_fetch_add (&serial, 1);
  uint64_t begin = now ();
  for (int i = 0; i < sequence->count; i++)
    run (sequence->commands[i], number);
  return now () - begin;
}

static void
serve (void)
{
  char line[64];
  while (fgets (line, sizeof line, stdin))
    {
      for (int n = atoi (line); n > 0; n--)
        {
          printf ("%lu\n", run_once (&timed));
          while (waitpid (-1, NULL, WNOHANG) > 0)
            continue;
        }
      fflush (stdout);
    }
}

static void *
thread (void *unused)
{
  for (int i = 0; i < runs_per_thread; i++)
    run_once (&timed);
  return unused;
}

static void
measure_threads (int threads, int count)
{
  pthread_t *ids = calloc ((size_t)threads, sizeof *ids);
  runs_per_thread = count / threads;
  uint64_t begin = now ();
  for (int i = 0; i < threads; i++)
    pthread_create (&ids[i], NULL, thread, NULL);
  for (int i = 0; i < threads; i++)
    pthread_join (ids[i], NULL);
  uint64_t ns = now () - begin;
  printf ("{\"threads\": %d, \"count\": %d, \"per_second\": %.1f}\n", threads,
          runs_per_thread * threads, runs_per_thread * threads * 1e9 / (double)ns);
  free (ids);
}

static void
unshare_mounts (void)
{
  static int done;
  if (done++)
    return;
  if (unshare (CLONE_NEWNS) < 0 || mount (NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
    fail ("unshare");
}

/* crun 1.8 refuses a hybrid host, and runc pays for each v1 controller; the v1
 * mounts below /sys/fs/cgroup are hidden by the new one, not unmounted. */
static void
use_cgroup2 (void)
{
  unshare_mounts ();
  if (mount ("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0)
    fail ("mount cgroup2 on /sys/fs/cgroup");
}

static void
use_private (const char *path)
{
  unshare_mounts ();
  if (mount ("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0)
    fail (path);
}

/* Take words up to *end*, or the last, as commands between ";"; return where that stopped. */
static int
take (struct sequence *sequence, char **argv, int i, const char *end)
{
  for (int begins = 1; argv[i] && strcmp (argv[i], end); i++)
    {
      if (!strcmp (argv[i], ";"))
        {
          argv[i] = NULL;
          begins = 1;
        }
      else if (begins && sequence->count < MAX_COMMANDS)
        {
          sequence->commands[sequence->count++] = argv + i;
          begins = 0;
        }
    }
  if (argv[i])
    argv[i++] = NULL;
  return i;
}

int
main (int argc, char **argv)
{
  int threads = 0, count = 0;
  for (int i = 1; i < argc && !timed.count; i++)
    {
      if (!strcmp (argv[i], "--cgroup2"))
        use_cgroup2 ();
      else if (!strcmp (argv[i], "--private") && i + 1 < argc)
        use_private (argv[++i]);
      else if (!strcmp (argv[i], "--threads") && i + 1 < argc)
        threads = atoi (argv[++i]);
      else if (!strcmp (argv[i], "--count") && i + 1 < argc)
        count = atoi (argv[++i]);
      else if (!strcmp (argv[i], "--"))
        take (&timed, argv, i + 1, "");
      else if (!strcmp (argv[i], "--first"))
        i = take (&first, argv, i + 1, "--end") - 1;
      else if (!strcmp (argv[i], "--last"))
        i = take (&last, argv, i + 1, "--end") - 1;
      else
        break;
    }
  if (!timed.count)
    {
      fprintf (stderr, "stopwatch: bad arguments (see the top of stopwatch.c)\n");
      return 2;
    }
  prctl (PR_SET_CHILD_SUBREAPER, 1);
  posix_spawn_file_actions_init (&streams);
  posix_spawn_file_actions_addopen (&streams, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen (&streams, 1, "/dev/null", O_WRONLY, 0);
  run_once (&first);
  if (threads)
    measure_threads (threads, count);
  else
    serve ();
  run_once (&last);
  return 0;
}
