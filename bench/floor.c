/* The floor: one isolated /bin/true by bare system calls, nothing else.
 *
 * What `newroot run` promises a container (namespaces, overlay root, /proc, /sys,
 * /dev, masks, capabilities, seccomp, pivot) is done here by hand, in one resident
 * process without parsing, checking or reporting, so that its time is what the kernel
 * charges for the job. STEPS below is the list to compare with newroot's own plan.
 *
 *   floor --lowers A:B:C [--state DIR] [--count N] [--warmup N] [--threads N]
 *         [--phases] [--samples FILE] [--serve] [--fork] [--no-netns]
 *         [--seccomp FILE|tree|linear|none] [--no-masks] [--memory-upper]
 *         [--exec CMD ARG...]
 *
 * --serve answers each line "N" on stdin with N lines of nanoseconds, so that
 * bench/run can interleave it with its peers. --memory-upper puts upper and work in
 * the container's own scratch tmpfs instead of --state's disk: nothing to make before
 * and nothing to remove after. Needs root and Linux 5.14 (6.8 for "lowerdir+").
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* <sys/mount.h> and <linux/mount.h> exclude each other in glibc 2.36. */
int mount (const char *, const char *, const char *, unsigned long, const void *);
int umount2 (const char *, int);
#define MNT_DETACH 2

#define MAX_PHASES 32
#define LENGTH(a) (sizeof (a) / sizeof (a)[0])
#define ATTR_SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* ---- what is asked for: written once by main, only read afterwards ---- */

static struct
{
  const char *state;
  char **lowers;
  int lower_count;
  int count, warmup, threads;
  int netns, masks, phases, serve, use_fork, memory_upper;
  const char *samples, *seccomp;
  char **command;
  struct sock_fprog filter;
  int devnull;
} ask = { .count = 200, .warmup = 20, .threads = 0, .netns = 1, .masks = 1, .seccomp = "tree" };

static char *const ENVIRONMENT[]
    = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=floor",
        NULL };
static char *const TRUE_COMMAND[] = { "/bin/true", NULL };

/* ---- one run: what parent and child share (the page is MAP_SHARED) ---- */

struct shared
{
  uint64_t mark[MAX_PHASES]; /* end of step i, CLOCK_MONOTONIC ns */
  uint64_t begun;            /* child's first instruction */
  int failed_step, error;
};

struct job
{
  struct shared *shared;
  char *stack; /* for CLONE_VM */
  int base;    /* descriptor of this thread's directory */
  char base_path[256], dir[300], upper[320], work[320], scratch[300];
  int out[2], err[2], pidfd;
  int root; /* the overlay's mount, before and after it is attached */
  int scratch_fd, null_fd, empty_fd;
  unsigned serial;
  uint64_t total[MAX_PHASES + 8];
};

static uint64_t
now (void)
{
  struct timespec t;
  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static _Noreturn void
fail (const char *what)
{
  fprintf (stderr, "floor: %s: %s\n", what, strerror (errno));
  exit (125);
}

/* ---- the mount calls ---- */

/* fsopen … fsmount of *type* with the key/value pairs in *options* (NULL value: a
 * flag); returns the detached mount. */
static int
make_fs (const char *type, const char *const options[][2], unsigned attributes)
{
  int fs = (int)syscall (SYS_fsopen, type, FSOPEN_CLOEXEC);
  if (fs < 0)
    return -1;
  if (syscall (SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", type, 0) < 0)
    return -1;
  for (; options && options[0][0]; options++)
    if (syscall (SYS_fsconfig, fs, options[0][1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
                 options[0][0], options[0][1], 0)
        < 0)
      return -1;
  if (syscall (SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
    return -1;
  int mnt = (int)syscall (SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes);
  close (fs);
  return mnt;
}

static int
attach (int mnt, int dir, const char *path)
{
  return (int)syscall (SYS_move_mount, mnt, "", dir, path, MOVE_MOUNT_F_EMPTY_PATH);
}

static int
mount_at (struct job *j, const char *path, const char *type, const char *const options[][2],
          unsigned attributes)
{
  int mnt = make_fs (type, options, attributes);
  if (mnt < 0)
    return -1;
  int status = attach (mnt, j->root, path);
  close (mnt);
  return status;
}

/* Bind *from_path* below *from* on *path* of the new root; read-only when asked. */
static int
bind_at (struct job *j, int from, const char *from_path, const char *path, int recursive,
         int readonly)
{
  int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  int mnt = (int)syscall (SYS_open_tree, from, from_path, flags);
  if (mnt < 0)
    return -1;
  struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
  if (readonly
      && syscall (SYS_mount_setattr, mnt, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
                  sizeof attr)
             < 0)
    {
      close (mnt);
      return -1;
    }
  int status = attach (mnt, j->root, path);
  close (mnt);
  return status;
}

/* ---- the steps, in order; each returns 0, or -1 with errno ---- */

static int
step_private (struct job *j)
{
  (void)j;
  return mount (NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
}

static int
write_file (int dir, const char *name, const char *text)
{
  int fd = openat (dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || write (fd, text, strlen (text)) < 0)
    return -1;
  return close (fd);
}

/* One tmpfs for what the container gets as files, for the empty directory that masks
 * others, and as the place where the new root is put together. */
static int
step_scratch (struct job *j)
{
  static const char *const options[][2] = { { "mode", "0755" }, { "size", "50%" }, { NULL, NULL } };
  j->scratch_fd = make_fs ("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (j->scratch_fd < 0 || attach (j->scratch_fd, AT_FDCWD, j->scratch) < 0)
    return -1;
  if (mkdirat (j->scratch_fd, "root", 0755) < 0 || mkdirat (j->scratch_fd, "empty", 0555) < 0)
    return -1;
  if (ask.memory_upper
      && (mkdirat (j->scratch_fd, "upper", 0755) < 0 || mkdirat (j->scratch_fd, "work", 0700) < 0))
    return -1;
  if (write_file (j->scratch_fd, "hosts", "127.0.0.1 localhost\n::1 localhost\n") < 0
      || write_file (j->scratch_fd, "hostname", "floor\n") < 0
      || write_file (j->scratch_fd, "resolv.conf", "nameserver 127.0.0.1\n") < 0)
    return -1;
  return 0;
}

static int
step_overlay (struct job *j)
{
  int fs = (int)syscall (SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
  if (fs < 0)
    return -1;
#define SET(key, value)                                                                            \
  if (syscall (SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0) < 0)                          \
  return -1
  SET ("source", "overlay");
  for (int i = 0; i < ask.lower_count; i++)
    SET ("lowerdir+", ask.lowers[i]);
  SET ("upperdir", j->upper);
  SET ("workdir", j->work);
#undef SET
  if (syscall (SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
    return -1;
  if (syscall (SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
    return -1;
  j->root = (int)syscall (SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
  close (fs);
  if (j->root < 0)
    return -1;
  return attach (j->root, j->scratch_fd, "root");
}

static int
step_proc (struct job *j)
{
  return mount_at (j, "proc", "proc", NULL, ATTR_SAFE);
}

static int
step_sys (struct job *j)
{
  return mount_at (j, "sys", "sysfs", NULL, ATTR_SAFE | MOUNT_ATTR_RDONLY);
}

/* Docker's /dev: runc's AllowedDevices and symlinks, mode 0755, 64 MiB; the devices as binds on
 * a nodev mount, as newroot has them (docs/decisions/0012). */
static int
step_dev (struct job *j)
{
  static const char *const options[][2]
      = { { "mode", "755" }, { "size", "65536k" }, { NULL, NULL } };
  static const char *const nodes[][2]
      = { { "/dev/null", "dev/null" },       { "/dev/zero", "dev/zero" },
          { "/dev/full", "dev/full" },       { "/dev/random", "dev/random" },
          { "/dev/urandom", "dev/urandom" }, { "/dev/tty", "dev/tty" } };
  static const char *const links[][2]
      = { { "/proc/self/fd", "fd" },       { "/proc/self/fd/0", "stdin" },
          { "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" },
          { "pts/ptmx", "ptmx" },          { "/proc/kcore", "core" } };
  static const char *const directories[] = { "pts", "shm", "mqueue" };
  int dev
      = make_fs ("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_STRICTATIME);
  if (dev < 0 || attach (dev, j->root, "dev") < 0)
    return -1;
  for (unsigned i = 0; i < LENGTH (nodes); i++)
    if (mknodat (j->root, nodes[i][1], S_IFREG | 0644, 0) < 0
        || bind_at (j, AT_FDCWD, nodes[i][0], nodes[i][1], 0, 0) < 0)
      return -1;
  for (unsigned i = 0; i < LENGTH (links); i++)
    if (symlinkat (links[i][0], dev, links[i][1]) < 0)
      return -1;
  for (unsigned i = 0; i < LENGTH (directories); i++)
    if (mkdirat (dev, directories[i], 0755) < 0)
      return -1;
  return close (dev);
}

static int
step_pts (struct job *j)
{
  static const char *const options[][2] = { { "newinstance", NULL },
                                            { "ptmxmode", "0666" },
                                            { "mode", "0620" },
                                            { "gid", "5" },
                                            { NULL, NULL } };
  return mount_at (j, "dev/pts", "devpts", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

static int
step_shm (struct job *j)
{
  static const char *const options[][2]
      = { { "mode", "1777" }, { "size", "65536k" }, { NULL, NULL } };
  return mount_at (j, "dev/shm", "tmpfs", options, ATTR_SAFE);
}

static int
step_mqueue (struct job *j)
{
  return mount_at (j, "dev/mqueue", "mqueue", NULL, ATTR_SAFE);
}

static int
step_cgroup (struct job *j)
{
  return mount_at (j, "sys/fs/cgroup", "cgroup2", NULL, ATTR_SAFE | MOUNT_ATTR_RDONLY);
}

static int
step_etc (struct job *j)
{
  static const char *const files[][2] = { { "hosts", "etc/hosts" },
                                          { "hostname", "etc/hostname" },
                                          { "resolv.conf", "etc/resolv.conf" } };
  for (unsigned i = 0; i < LENGTH (files); i++)
    if (bind_at (j, j->scratch_fd, files[i][0], files[i][1], 0, 0) < 0)
      return -1;
  return 0;
}

/* moby oci/defaults.go, MaskedPaths: a file gets /dev/null, a directory an empty
 * read-only one. One empty directory serves them all (runc mounts a tmpfs each). */
static int
step_mask (struct job *j)
{
  static const char *const paths[]
      = { "proc/asound",     "proc/acpi",        "proc/interrupts",
          "proc/kcore",      "proc/keys",        "proc/latency_stats",
          "proc/timer_list", "proc/timer_stats", "proc/sched_debug",
          "proc/scsi",       "sys/firmware",     "sys/devices/virtual/powercap" };
  struct stat st;
  for (unsigned i = 0; ask.masks && i < LENGTH (paths); i++)
    {
      if (fstatat (j->root, paths[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
        continue; /* this kernel has no such file */
      int status = S_ISDIR (st.st_mode) ? bind_at (j, j->scratch_fd, "empty", paths[i], 0, 1)
                                        : bind_at (j, j->root, "dev/null", paths[i], 0, 0);
      if (status < 0)
        return -1;
    }
  return 0;
}

/* moby oci/defaults.go, ReadonlyPaths. */
static int
step_readonly (struct job *j)
{
  static const char *const paths[]
      = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
  for (unsigned i = 0; ask.masks && i < LENGTH (paths); i++)
    if (bind_at (j, j->root, paths[i], paths[i], 1, 1) < 0 && errno != ENOENT)
      return -1;
  return 0;
}

static int
step_loopback (struct job *j)
{
  (void)j;
  if (!ask.netns)
    return 0;
  struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
  int fd = socket (AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ioctl (fd, SIOCSIFFLAGS, &request) < 0)
    return -1;
  return close (fd);
}

static int
step_hostname (struct job *j)
{
  (void)j;
  return sethostname ("floor", 5);
}

static int
step_pivot (struct job *j)
{
  if (fchdir (j->root) < 0)
    return -1;
  return (int)syscall (SYS_pivot_root, ".", ".");
}

static int
step_detach (struct job *j)
{
  (void)j;
  if (umount2 (".", MNT_DETACH) < 0)
    return -1;
  return chdir ("/");
}

/* Docker's fourteen. */
#define CAP(name) (1ull << CAP_##name)
static const uint64_t CAPABILITIES = CAP (CHOWN) | CAP (DAC_OVERRIDE) | CAP (FSETID) | CAP (FOWNER)
                                     | CAP (MKNOD) | CAP (NET_RAW) | CAP (SETGID) | CAP (SETUID)
                                     | CAP (SETFCAP) | CAP (SETPCAP) | CAP (NET_BIND_SERVICE)
                                     | CAP (SYS_CHROOT) | CAP (KILL) | CAP (AUDIT_WRITE);

static int
step_bounding (struct job *j)
{
  (void)j;
  for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
    if (!(CAPABILITIES >> cap & 1) && prctl (PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
      return -1;
  return setgroups (1, (gid_t[]){ 0 });
}

/* Before the capabilities go: without no_new_privs it takes CAP_SYS_ADMIN. */
static int
step_seccomp (struct job *j)
{
  (void)j;
  if (!ask.filter.len)
    return 0;
  return (int)syscall (SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &ask.filter);
}

static int
step_capabilities (struct job *j)
{
  (void)j;
  struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
  uint32_t low = (uint32_t)CAPABILITIES;
  uint32_t high = (uint32_t)(CAPABILITIES >> 32);
  struct __user_cap_data_struct data[2] = { { low, low, 0 }, { high, high, 0 } };
  return (int)syscall (SYS_capset, &header, data);
}

static int
step_stdio (struct job *j)
{
  if (setsid () < 0 || dup2 (ask.devnull, 0) < 0 || dup2 (j->out[1], 1) < 0
      || dup2 (j->err[1], 2) < 0)
    return -1;
  return (int)syscall (SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
}

static const struct
{
  const char *name;
  int (*run) (struct job *);
} STEPS[] = {
  { "rslave", step_private },    { "scratch tmpfs", step_scratch },
  { "overlay", step_overlay },   { "proc", step_proc },
  { "sys", step_sys },           { "dev", step_dev },
  { "pts", step_pts },           { "shm", step_shm },
  { "mqueue", step_mqueue },     { "cgroup", step_cgroup },
  { "etc files", step_etc },     { "masks", step_mask },
  { "readonly", step_readonly }, { "loopback", step_loopback },
  { "hostname", step_hostname }, { "pivot", step_pivot },
  { "detach", step_detach },     { "bounding", step_bounding },
  { "stdio", step_stdio },       { "seccomp", step_seccomp },
  { "caps", step_capabilities },
};
#define STEP_COUNT LENGTH (STEPS)

/* ---- one run ---- */

static int
child (void *argument)
{
  struct job *j = argument;
  j->shared->begun = now ();
  for (unsigned i = 0; i < STEP_COUNT; i++)
    {
      if (STEPS[i].run (j) < 0)
        {
          j->shared->failed_step = (int)i;
          j->shared->error = errno;
          _exit (125);
        }
      if (ask.phases || i == STEP_COUNT - 1)
        j->shared->mark[i] = now ();
    }
  execve (ask.command[0], ask.command, ENVIRONMENT);
  j->shared->failed_step = STEP_COUNT;
  j->shared->error = errno;
  _exit (127);
}

static int
start (struct job *j)
{
  int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP
              | (ask.netns ? CLONE_NEWNET : 0) | CLONE_PIDFD;
  if (!ask.use_fork)
    return clone (child, j->stack + 65536, flags | CLONE_VM | CLONE_VFORK | SIGCHLD, j, &j->pidfd);
  struct clone_args arguments
      = { .flags = (unsigned)flags, .pidfd = (uintptr_t)&j->pidfd, .exit_signal = SIGCHLD };
  int pid = (int)syscall (SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0)
    child (j);
  return pid;
}

static void
drain (int fd, int to)
{
  char buffer[4096];
  ssize_t n;
  while ((n = read (fd, buffer, sizeof buffer)) > 0)
    if (ask.command != TRUE_COMMAND && write (to, buffer, (size_t)n) < 0)
      break;
  close (fd);
}

static void
make_directories (struct job *j)
{
  if (ask.memory_upper)
    {
      snprintf (j->upper, sizeof j->upper, "%s/upper", j->scratch);
      snprintf (j->work, sizeof j->work, "%s/work", j->scratch);
      return;
    }
  snprintf (j->dir, sizeof j->dir, "%s/%u", j->base_path, j->serial++);
  snprintf (j->upper, sizeof j->upper, "%s/upper", j->dir);
  snprintf (j->work, sizeof j->work, "%s/work", j->dir);
  if (mkdir (j->dir, 0700) < 0 || mkdir (j->upper, 0755) < 0 || mkdir (j->work, 0700) < 0)
    fail (j->dir);
}

/* An overlay mounted volatile leaves work/work/incompat/volatile
 * (Documentation/filesystems/overlayfs.rst); a command that wrote leaves more. */
static int
remove_entry (const char *path, const struct stat *st, int flag, struct FTW *where)
{
  (void)st, (void)flag, (void)where;
  return remove (path);
}

static void
remove_directories (struct job *j)
{
  if (ask.memory_upper)
    return;
  static const char *const made[]
      = { "work/work/incompat/volatile", "work/work/incompat", "work/work", "work", "upper" };
  int dir = open (j->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  unlinkat (dir, "work/work/incompat/volatile/dirty", 0);
  for (unsigned i = 0; i < LENGTH (made); i++)
    unlinkat (dir, made[i], AT_REMOVEDIR);
  close (dir);
  if (rmdir (j->dir) < 0 && nftw (j->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0)
    fail (j->dir);
}

enum
{
  PREPARE = MAX_PHASES,
  CLONE,
  RUN,
  REAP,
  CLEANUP,
  TOTAL
};

static uint64_t
run_once (struct job *j)
{
  uint64_t t0 = now ();
  make_directories (j);
  if (pipe2 (j->out, O_CLOEXEC) < 0 || pipe2 (j->err, O_CLOEXEC) < 0)
    fail ("pipe");
  uint64_t t1 = now ();
  if (start (j) < 0)
    fail ("clone");
  close (j->out[1]);
  close (j->err[1]);
  drain (j->out[0], 1);
  drain (j->err[0], 2);
  uint64_t t2 = now ();
  siginfo_t info;
  if (waitid (P_PIDFD, (id_t)j->pidfd, &info, WEXITED) < 0)
    fail ("waitid");
  close (j->pidfd);
  uint64_t t3 = now ();
  remove_directories (j);
  uint64_t t4 = now ();

  if (j->shared->error)
    {
      errno = j->shared->error;
      fail (j->shared->failed_step < (int)STEP_COUNT ? STEPS[j->shared->failed_step].name
                                                     : "execve");
    }
  if (info.si_code != CLD_EXITED || (info.si_status && ask.command == TRUE_COMMAND))
    fail ("the command did not exit 0");

  uint64_t last = j->shared->begun;
  for (unsigned i = 0; ask.phases && i < STEP_COUNT; i++)
    {
      j->total[i] = j->shared->mark[i] - last;
      last = j->shared->mark[i];
    }
  j->total[PREPARE] = t1 - t0;
  j->total[CLONE] = j->shared->begun - t1;
  j->total[RUN] = t2 - j->shared->mark[STEP_COUNT - 1];
  j->total[REAP] = t3 - t2;
  j->total[CLEANUP] = t4 - t3;
  return j->total[TOTAL] = t4 - t0;
}

static void
open_job (struct job *j, int index)
{
  snprintf (j->base_path, sizeof j->base_path, "%s/floor-%d-%d", ask.state, (int)getpid (), index);
  snprintf (j->scratch, sizeof j->scratch, "%s/scratch", j->base_path);
  if (mkdir (j->base_path, 0700) < 0 || mkdir (j->scratch, 0700) < 0)
    fail (j->base_path);
  j->shared = mmap (NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  j->stack
      = mmap (NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (j->shared == MAP_FAILED || j->stack == MAP_FAILED)
    fail ("mmap");
}

static void
close_job (struct job *j)
{
  rmdir (j->scratch);
  if (rmdir (j->base_path) < 0)
    fail (j->base_path);
}

/* ---- the filter ---- */

/* Stand-ins for a compiled profile until one is given as a file. Both refuse what
 * Docker's default refuses by number on x86-64. "tree" halves the range of allowed
 * and refused stretches; "linear" compares one number after the other, which is what
 * libseccomp makes unless asked otherwise. The kernel runs the program once for each
 * system call number when it is loaded (kernel/seccomp.c, seccomp_cache_prepare), so
 * its shape is paid at every start. */
static const uint16_t REFUSED[]
    = { 134, 136, 139, 153, 154, 155, 156, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172,
        173, 174, 175, 176, 177, 178, 179, 180, 183, 184, 185, 212, 227, 236, 237, 238, 239,
        246, 248, 249, 250, 256, 272, 279, 298, 304, 305, 308, 310, 311, 312, 313, 320, 321,
        323, 425, 426, 427, 428, 429, 430, 431, 432, 433, 435, 442, 443, 450 };
#define SYSCALLS 470

static struct sock_filter program[4096];
static unsigned short program_length;

static void
emit (uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
  program[program_length++] = (struct sock_filter){ code, jt, jf, k };
}

static int
is_refused (uint32_t nr)
{
  for (unsigned i = 0; i < LENGTH (REFUSED); i++)
    if (REFUSED[i] == nr)
      return 1;
  return nr >= SYSCALLS;
}

/* *edges*: the numbers at which the verdict changes, the first one allowed. */
static void
emit_tree (const uint32_t *edges, unsigned count, int refused)
{
  if (count == 0)
    {
      emit (BPF_RET | BPF_K, 0, 0, refused ? SECCOMP_RET_ERRNO | 1 : SECCOMP_RET_ALLOW);
      return;
    }
  unsigned half = count / 2;
  emit (BPF_JMP | BPF_JGE | BPF_K, 0, 1, edges[half]);
  unsigned hop = program_length;
  emit (BPF_JMP | BPF_JA, 0, 0, 0);
  emit_tree (edges, half, refused);
  program[hop].k = program_length - hop - 1;
  emit_tree (edges + half + 1, count - half - 1, refused ^ ((half + 1) & 1));
}

static void
emit_list (void)
{
  for (uint32_t nr = 0; nr < SYSCALLS; nr++)
    if (!is_refused (nr) && (nr <= 334 || nr >= 424))
      {
        emit (BPF_JMP | BPF_JEQ | BPF_K, 0, 1, nr);
        emit (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
      }
  emit (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | 1);
}

static void
make_filter (const char *kind)
{
  if (!strcmp (kind, "none"))
    return;
  if (strchr (kind, '/'))
    {
      FILE *file = fopen (kind, "re");
      if (!file)
        fail (kind);
      program_length = (unsigned short)fread (program, sizeof program[0], LENGTH (program), file);
      fclose (file);
      ask.filter = (struct sock_fprog){ program_length, program };
      return;
    }
  emit (BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof (struct seccomp_data, arch));
  emit (BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
  emit (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
  emit (BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof (struct seccomp_data, nr));
  uint32_t edges[SYSCALLS];
  unsigned count = 0;
  for (uint32_t nr = 1; nr <= SYSCALLS; nr++)
    if (is_refused (nr) != is_refused (nr - 1))
      edges[count++] = nr;
  if (!strcmp (kind, "tree"))
    emit_tree (edges, count, 0);
  else if (!strcmp (kind, "linear"))
    emit_list ();
  ask.filter = (struct sock_fprog){ program_length, program };
}

/* ---- what is printed ---- */

static int
compare (const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void
print_quantiles (const char *name, uint64_t *values, int n, const char *end)
{
  qsort (values, (size_t)n, sizeof *values, compare);
  printf ("  \"%s\": {\"p10\": %lu, \"median\": %lu, \"p90\": %lu}%s\n", name, values[n / 10],
          values[n / 2], values[n * 9 / 10], end);
}

static const char *
phase_name (int index)
{
  static const char *const outer[]
      = { "prepare", "clone", "exec to exit", "reap", "cleanup", "total" };
  return index < (int)STEP_COUNT ? STEPS[index].name : outer[index - MAX_PHASES];
}

static void
measure (struct job *j)
{
  int columns[MAX_PHASES + 8], column_count = 0;
  columns[column_count++] = PREPARE;
  columns[column_count++] = CLONE;
  for (int i = 0; ask.phases && i < (int)STEP_COUNT; i++)
    columns[column_count++] = i;
  for (int i = RUN; i <= TOTAL; i++)
    columns[column_count++] = i;

  uint64_t *samples = calloc ((size_t)ask.count * (MAX_PHASES + 8), sizeof *samples);
  for (int i = 0; i < ask.warmup; i++)
    run_once (j);
  FILE *file = ask.samples ? fopen (ask.samples, "we") : NULL;
  for (int i = 0; i < ask.count; i++)
    {
      uint64_t ns = run_once (j);
      if (file)
        fprintf (file, "%lu\n", ns);
      for (int c = 0; c < column_count; c++)
        samples[(size_t)c * (size_t)ask.count + (size_t)i] = j->total[columns[c]];
    }
  if (file)
    fclose (file);
  if (ask.command != TRUE_COMMAND)
    return;
  printf ("{\n  \"count\": %d, \"filter\": %u,\n", ask.count, program_length);
  for (int c = 0; c < column_count; c++)
    print_quantiles (phase_name (columns[c]), samples + (size_t)c * (size_t)ask.count, ask.count,
                     c + 1 < column_count ? "," : "\n}");
  free (samples);
}

static void
serve (struct job *j)
{
  char line[64];
  while (fgets (line, sizeof line, stdin))
    {
      for (int n = atoi (line); n > 0; n--)
        printf ("%lu\n", run_once (j));
      fflush (stdout);
    }
}

static void *
thread (void *argument)
{
  for (int i = 0; i < ask.count / ask.threads; i++)
    run_once (argument);
  return NULL;
}

static void
measure_threads (void)
{
  pthread_t *ids = calloc ((size_t)ask.threads, sizeof *ids);
  struct job *jobs = calloc ((size_t)ask.threads, sizeof *jobs);
  for (int i = 0; i < ask.threads; i++)
    open_job (&jobs[i], i);
  uint64_t begin = now ();
  for (int i = 0; i < ask.threads; i++)
    pthread_create (&ids[i], NULL, thread, &jobs[i]);
  for (int i = 0; i < ask.threads; i++)
    pthread_join (ids[i], NULL);
  uint64_t ns = now () - begin;
  for (int i = 0; i < ask.threads; i++)
    close_job (&jobs[i]);
  int ran = ask.count / ask.threads * ask.threads;
  printf ("{\"threads\": %d, \"count\": %d, \"ns\": %lu, \"per_second\": %.1f}\n", ask.threads, ran,
          ns, ran * 1e9 / (double)ns);
  free (jobs);
  free (ids);
}

/* ---- the command line ---- */

static void
split_lowers (char *text)
{
  ask.lowers = calloc (strlen (text) + 1, sizeof *ask.lowers);
  for (char *part = strtok (text, ":"); part; part = strtok (NULL, ":"))
    ask.lowers[ask.lower_count++] = part;
}

int
main (int argc, char **argv)
{
  char *lowers = NULL;
  ask.command = (char **)TRUE_COMMAND;
  const struct
  {
    const char *name;
    int *flag, value;
    const char **text;
    int *number;
  } options[] = {
    { "--fork", &ask.use_fork, 1, NULL, NULL },
    { "--no-netns", &ask.netns, 0, NULL, NULL },
    { "--no-masks", &ask.masks, 0, NULL, NULL },
    { "--memory-upper", &ask.memory_upper, 1, NULL, NULL },
    { "--phases", &ask.phases, 1, NULL, NULL },
    { "--serve", &ask.serve, 1, NULL, NULL },
    { "--lowers", NULL, 0, (const char **)&lowers, NULL },
    { "--state", NULL, 0, &ask.state, NULL },
    { "--samples", NULL, 0, &ask.samples, NULL },
    { "--seccomp", NULL, 0, &ask.seccomp, NULL },
    { "--count", NULL, 0, NULL, &ask.count },
    { "--warmup", NULL, 0, NULL, &ask.warmup },
    { "--threads", NULL, 0, NULL, &ask.threads },
  };
  for (int i = 1; i < argc; i++)
    {
      if (!strcmp (argv[i], "--exec") && i + 1 < argc)
        {
          ask.command = &argv[i + 1];
          ask.count = 1;
          ask.warmup = 0;
          break;
        }
      unsigned o = 0;
      while (o < LENGTH (options) && strcmp (argv[i], options[o].name))
        o++;
      if (o == LENGTH (options) || (!options[o].flag && i + 1 == argc))
        {
          fprintf (stderr, "floor: bad option %s (see the top of floor.c)\n", argv[i]);
          return 2;
        }
      if (options[o].flag)
        *options[o].flag = options[o].value;
      else if (options[o].text)
        *options[o].text = argv[++i];
      else
        *options[o].number = atoi (argv[++i]);
    }
  if (!lowers || !ask.state)
    {
      fprintf (stderr, "floor: --lowers and --state are needed\n");
      return 2;
    }
  split_lowers (lowers);
  make_filter (ask.seccomp);
  ask.devnull = open ("/dev/null", O_RDWR | O_CLOEXEC);
  if (ask.threads)
    {
      measure_threads ();
      return 0;
    }
  struct job *job = calloc (1, sizeof *job);
  open_job (job, 0);
  if (ask.serve)
    serve (job);
  else
    measure (job);
  close_job (job);
  return 0;
}
