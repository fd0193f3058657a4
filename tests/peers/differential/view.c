/* What a container's process sees, as one JSON object on stdout.
 *
 * Static, so that a root filesystem needs nothing but this file.  Everything is asked of the kernel
 * directly, and what cannot be had is null, for a bundle may lack /proc.  Arguments are probes:
 *
 *   stat:PATH read:PATH list:PATH   look
 *   write:PATH create:PATH          open for writing, make a file
 *   sys:NR[:ARG...]                 make this system call; its result or errno
 *   say:WORDS                       on stderr
 *   exit:CODE signal:NUMBER         how to end, when all is said
 *   last:NR                         make this system call when all is said
 *   wait:                           until a signal comes, after the view is out
 *
 * As a hook, ``view hook:FILE NAME [ENDS...]``, it adds a line to FILE: its name, what it was told
 * on stdin, its arguments, environment, directory and namespaces.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

static char buffer[1 << 16];
static int first = 1;

static void
text_of (const char *text, size_t size)
{
  putchar ('"');
  for (size_t i = 0; i < size; i++)
    {
      unsigned char c = (unsigned char)text[i];
      if (c == '"' || c == '\\')
        printf ("\\%c", c);
      else if (c < 0x20 || c > 0x7e)
        printf ("\\u%04x", c);
      else
        putchar (c);
    }
  putchar ('"');
}

static void
text (const char *words)
{
  text_of (words, strlen (words));
}

static void
key (const char *name)
{
  if (!first)
    putchar (',');
  first = 0;
  text (name);
  putchar (':');
}

static void
open_group (const char *name)
{
  if (name != NULL)
    key (name);
  putchar ('{');
  first = 1;
}

static void
close_group (void)
{
  putchar ('}');
  first = 0;
}

static void
number (const char *name, long long value)
{
  key (name);
  printf ("%lld", value);
}

static void
words (const char *name, const char *value)
{
  key (name);
  if (value == NULL)
    printf ("null");
  else
    text (value);
}

/* A name for an errno, or "ok". */
static const char *
outcome (int result)
{
  return result < 0 ? strerrorname_np (errno) : "ok";
}

static void
content_of (const char *name, int fd)
{
  size_t size = 0;
  ssize_t got = -1;

  key (name);
  while (fd >= 0 && size < sizeof buffer
         && (got = read (fd, buffer + size, sizeof buffer - size)) > 0)
    size += (size_t)got;
  if (fd >= 0 && got >= 0)
    text_of (buffer, size);
  else
    printf ("{\"errno\":\"%s\"}", strerrorname_np (errno));
  if (fd > 0)
    close (fd);
}

static void
content (const char *name, const char *path)
{
  content_of (name, open (path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

static const char *
link_of (const char *path)
{
  static char target[4096];
  ssize_t size = readlink (path, target, sizeof target - 1);
  if (size < 0)
    return NULL;
  target[size] = '\0';
  return target;
}

/* "c 1:3 0666 0:0", with a link's target at the end. */
static void
attributes (const char *name, const char *path)
{
  struct stat st;
  if (lstat (path, &st) < 0)
    {
      words (name, strerrorname_np (errno));
      return;
    }
  int n = snprintf (buffer, sizeof buffer, "%c ", "?pc?d?b?-?l?s???"[st.st_mode >> 12]);
  if (S_ISCHR (st.st_mode) || S_ISBLK (st.st_mode))
    n += snprintf (buffer + n, sizeof buffer - (size_t)n, "%u:%u ", major (st.st_rdev),
                   minor (st.st_rdev));
  n += snprintf (buffer + n, sizeof buffer - (size_t)n, "%04o %u:%u", st.st_mode & 07777, st.st_uid,
                 st.st_gid);
  if (S_ISLNK (st.st_mode) && link_of (path) != NULL)
    snprintf (buffer + n, sizeof buffer - (size_t)n, " %s", link_of (path));
  words (name, buffer);
}

static void
listing (const char *name, const char *path)
{
  DIR *directory = opendir (path);
  if (directory == NULL)
    {
      words (name, strerrorname_np (errno));
      return;
    }
  open_group (name);
  for (struct dirent *entry; (entry = readdir (directory)) != NULL;)
    {
      char below[4096];
      if (strcmp (entry->d_name, ".") == 0 || strcmp (entry->d_name, "..") == 0)
        continue;
      snprintf (below, sizeof below, "%s/%s", path, entry->d_name);
      attributes (entry->d_name, below);
    }
  close_group ();
  closedir (directory);
}

static void
tree (const char *top, int depth)
{
  DIR *directory = opendir (top);
  if (directory == NULL)
    return;
  for (struct dirent *entry; (entry = readdir (directory)) != NULL;)
    {
      char below[4096];
      if (strcmp (entry->d_name, ".") == 0 || strcmp (entry->d_name, "..") == 0)
        continue;
      snprintf (below, sizeof below, "%s/%s", top, entry->d_name);
      attributes (below, below);
      if (entry->d_type == DT_DIR && depth > 0)
        tree (below, depth - 1);
    }
  closedir (directory);
}

static void
namespaces (void)
{
  static const char *const kinds[]
      = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };
  open_group ("namespaces");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    {
      snprintf (buffer, sizeof buffer, "/proc/self/ns/%s", kinds[i]);
      words (kinds[i], link_of (buffer));
    }
  close_group ();
}

static void
limits (void)
{
  static const char *const names[]
      = { "CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
          "MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME" };
  open_group ("rlimits");
  for (int i = 0; i < RLIM_NLIMITS; i++)
    {
      struct rlimit limit;
      getrlimit ((__rlimit_resource_t)i, &limit);
      snprintf (buffer, sizeof buffer, "%lld %lld", (long long)limit.rlim_cur,
                (long long)limit.rlim_max);
      words (names[i], buffer);
    }
  close_group ();
}

static void
descriptors (void)
{
  open_group ("fds");
  for (int fd = 0; fd < 1024; fd++)
    {
      struct stat st;
      char name[16];
      if (fstat (fd, &st) < 0)
        continue;
      snprintf (name, sizeof name, "%d", fd);
      snprintf (buffer, sizeof buffer, "%c %s %s", "?pc?d?b?-?l?s???"[st.st_mode >> 12],
                (fcntl (fd, F_GETFL) & O_ACCMODE) == O_RDONLY ? "r" : "w",
                isatty (fd) ? ttyname (fd) : "");
      words (name, buffer);
    }
  close_group ();
}

static void
scheduling (void)
{
  struct
  {
    unsigned size, policy;
    unsigned long long flags;
    int nice;
    unsigned priority;
    unsigned long long runtime, deadline, period;
    unsigned util_min, util_max;
  } attr = { .size = sizeof attr };
  cpu_set_t cpus;

  open_group ("scheduling");
  if (syscall (SYS_sched_getattr, 0, &attr, sizeof attr, 0) == 0)
    {
      number ("policy", attr.policy);
      number ("flags", (long long)attr.flags);
      number ("nice", attr.nice);
      number ("priority", attr.priority);
      number ("runtime", (long long)attr.runtime);
      number ("deadline", (long long)attr.deadline);
      number ("period", (long long)attr.period);
    }
  number ("ioprio", syscall (SYS_ioprio_get, 1, 0));
  if (sched_getaffinity (0, sizeof cpus, &cpus) == 0)
    number ("cpus", CPU_COUNT (&cpus));
  close_group ();
}

static void
process (void)
{
  struct winsize size = { 0 };
  open_group ("process");
  number ("pid", getpid ());
  number ("parent", getppid ());
  number ("leads session", getsid (0) == getpid ());
  number ("leads group", getpgid (0) == getpid ());
  number ("foreground", tcgetpgrp (0) == getpgid (0));
  number ("has terminal", open ("/dev/tty", O_RDWR | O_CLOEXEC) >= 0);
  if (ioctl (0, TIOCGWINSZ, &size) == 0)
    number ("rows", size.ws_row), number ("columns", size.ws_col);
  number ("dumpable", prctl (PR_GET_DUMPABLE));
  number ("securebits", prctl (PR_GET_SECUREBITS));
  number ("subreaper", ({
            int on = 0;
            prctl (PR_GET_CHILD_SUBREAPER, &on);
            on;
          }));
  number ("parent death signal", ({
            int on = 0;
            prctl (PR_GET_PDEATHSIG, &on);
            on;
          }));
  number ("personality", personality (0xffffffff));
  number ("timer slack", prctl (PR_GET_TIMERSLACK));
  int mode = 0;
  unsigned long nodes[16] = { 0 };
  if (syscall (SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, NULL, 0) == 0)
    number ("mempolicy", mode), number ("mempolicy nodes", (long long)nodes[0]);
  close_group ();
}

static void
keyring (void)
{
  long id = syscall (SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3 /* session */, 0);
  long size = -1;
  if (id >= 0)
    size = syscall (SYS_keyctl, 6 /* KEYCTL_DESCRIBE */, id, buffer, sizeof buffer);
  words ("keyring", size < 0 ? strerrorname_np (errno) : buffer);
}

static void
network (void)
{
  struct ifreq request = { .ifr_name = "lo" };
  int fd = socket (AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  open_group ("network");
  if (fd >= 0 && ioctl (fd, SIOCGIFFLAGS, &request) == 0)
    number ("lo is up", (request.ifr_flags & IFF_UP) != 0);
  struct if_nameindex *all = if_nameindex ();
  for (struct if_nameindex *one = all; one != NULL && one->if_index != 0; one++)
    number (one->if_name, 1);
  close_group ();
  if (fd >= 0)
    close (fd);
}

static void
system_call (const char *probe)
{
  long values[7] = { 0 };
  char *rest = (char *)probe + strlen ("sys:");
  for (int i = 0; i < 7 && *rest != '\0'; i++, rest += *rest == ':')
    values[i] = strtol (rest, &rest, 0);
  long result
      = syscall (values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
  words (probe, outcome (result < 0 ? -1 : 0));
}

static void
probe (const char *asked)
{
  const char *path = strchr (asked, ':');
  path = path != NULL ? path + 1 : "";
  if (strncmp (asked, "stat:", 5) == 0)
    attributes (asked, path);
  else if (strncmp (asked, "read:", 5) == 0)
    content (asked, path);
  else if (strncmp (asked, "list:", 5) == 0)
    listing (asked, path);
  else if (strncmp (asked, "write:", 6) == 0)
    words (asked, outcome (open (path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)));
  else if (strncmp (asked, "create:", 7) == 0)
    words (asked, outcome (open (path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)));
  else if (strncmp (asked, "sys:", 4) == 0)
    system_call (asked);
  else if (strncmp (asked, "say:", 4) == 0)
    fprintf (stderr, "%s\n", path);
}

static void
end (const char *asked)
{
  if (strncmp (asked, "exit:", 5) == 0)
    exit (atoi (asked + 5));
  if (strncmp (asked, "signal:", 7) == 0)
    {
      signal (atoi (asked + 7), SIG_DFL);
      kill (getpid (), atoi (asked + 7));
    }
  if (strncmp (asked, "last:", 5) == 0)
    syscall (atoi (asked + 5), 0, 0, 0);
  if (strcmp (asked, "wait:") == 0)
    pause ();
}

static void
words_of (const char *name, char *const *list)
{
  key (name);
  putchar ('[');
  for (; *list != NULL; list++)
    text (*list), putchar (list[1] != NULL ? ',' : ' ');
  putchar (']');
}

static int
hook (char **argv)
{
  char here[4096];
  const char *log = argv[1] + strlen ("hook:");
  if (freopen (log, "a", stdout) == NULL)
    return 99;
  open_group (NULL);
  words ("hook", argv[2]);
  content_of ("state", STDIN_FILENO);
  words_of ("argv", argv);
  words_of ("env", environ);
  words ("cwd", getcwd (here, sizeof here));
  namespaces ();
  close_group ();
  putchar ('\n');
  fflush (stdout);
  for (int i = 3; argv[i] != NULL; i++)
    end (argv[i]);
  return 0;
}

static void
handle (int signum)
{
  _exit (signum);
}

int
main (int argc, char **argv)
{
  struct utsname uts;
  char here[4096];

  if (argc > 2 && strncmp (argv[1], "hook:", 5) == 0)
    return hook (argv);
  signal (SIGTERM, handle); /* pid 1 would not be ended by it */
  open_group (NULL);
  descriptors (); /* first, before there are more */
  content ("mountinfo", "/proc/self/mountinfo");
  content ("status", "/proc/self/status");
  content ("cgroup", "/proc/self/cgroup");
  content ("oom_score_adj", "/proc/self/oom_score_adj");
  content ("uid_map", "/proc/self/uid_map");
  content ("gid_map", "/proc/self/gid_map");
  content ("setgroups", "/proc/self/setgroups");
  content ("timens_offsets", "/proc/self/timens_offsets");
  content ("label", "/proc/self/attr/current");
  content ("coredump_filter", "/proc/self/coredump_filter");
  namespaces ();
  limits ();
  scheduling ();
  process ();
  keyring ();
  network ();
  uname (&uts);
  words ("hostname", uts.nodename);
  words ("domainname", uts.domainname);
  words ("cwd", getcwd (here, sizeof here));
  words ("exe", link_of ("/proc/self/exe"));
  words_of ("argv", argv);
  words_of ("env", environ);
  open_group ("dev");
  tree ("/dev", 2);
  close_group ();
  listing ("root", "/");
  open_group ("probes");
  for (int i = 1; i < argc; i++)
    probe (argv[i]);
  close_group ();
  close_group ();
  putchar ('\n');
  fflush (stdout);
  for (int i = 1; i < argc; i++)
    end (argv[i]);
  return 0;
}
