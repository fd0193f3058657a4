/* wire.h: what crosses between Python and newroot-init: plans, requests, reports.
 *
 * plan/encode.py writes these structures and plan/handover.py reads them; a test
 * compiles this file and compares every size and offset with Python's.  Integers
 * are the machine's own, for both ends run on one machine. */

#ifndef NEWROOT_WIRE_H
#define NEWROOT_WIRE_H

#include <stdint.h>

#define PLAN_MAGIC 0x31746f6f7277656eULL /* "newroot1" in little endian */

struct plan
{
  uint64_t magic;
  uint32_t size;  /* of the whole plan, this head included */
  uint32_t count; /* steps that follow */
};

/* One step: this head, then its text.  a, b and c are offsets of text from the
 * step's own start, 0 for none; x, y and z are numbers whose meaning is the op's. */
struct step
{
  uint32_t size; /* of this step, text included; a multiple of 8; last byte 0 */
  uint16_t op;
  uint16_t flags;
  uint32_t a, b, c;
  uint32_t d; /* a number too */
  uint64_t x, y, z;
};

/* A list of strings in a step's text, at an offset that is a multiple of 8.  Each
 * slot holds a string's offset; list_of() turns slots into pointers in place, so
 * that no memory is ever asked for. */
struct list
{
  uint64_t count;
  uint64_t slots[]; /* count of them, then a zero */
};

enum op
{
  STEP_UNSHARE = 1,
  STEP_SET_NAMESPACE,
  STEP_MAP_IDS,
  STEP_WAIT,
  STEP_DIE_WITH_PARENT,
  STEP_NEW_SESSION,
  STEP_JOIN_CGROUP,
  STEP_SET_PROPAGATION,
  STEP_MAKE_DIR,
  STEP_WRITE_FILE,
  STEP_MOUNT_FS,
  STEP_MOUNT_OVERLAY,
  STEP_BIND_MOUNT,
  STEP_USE_ROOT,
  STEP_SET_ATTR,
  STEP_MAKE_NODE,
  STEP_MAKE_SYMLINK,
  STEP_MASK,
  STEP_MAKE_READONLY,
  STEP_OPEN_TERMINAL,
  STEP_SET_SYSCTL,
  STEP_SET_HOSTNAME,
  STEP_SET_DOMAINNAME,
  STEP_LINK_UP,
  STEP_PIVOT_ROOT,
  STEP_MOVE_ROOT,
  STEP_CHROOT,
  STEP_DETACH_OLD_ROOT,
  STEP_SET_OOM_SCORE,
  STEP_SET_RLIMIT,
  STEP_SET_BOUNDING,
  STEP_SET_USER,
  STEP_SET_CAPABILITIES,
  STEP_SET_NO_NEW_PRIVS,
  STEP_LOAD_SECCOMP,
  STEP_SET_CWD,
  STEP_REAP,
  STEP_EXEC,
  STEP_HOLD_TREE,
  STEP_SET_LABEL,
  STEP_SET_CLOCKS,
  STEP_SET_SCHEDULER,
  STEP_SET_AFFINITY,
  STEP_SET_IO_PRIORITY,
  STEP_SET_MEMORY_POLICY,
  STEP_SET_PERSONALITY,
  STEP_MOVE_INTERFACES,
  STEP_RUN_HOOK,
  STEP_JOIN_PROCESS,
  STEP_BIRTH,
  STEP_AWAIT_START,
  STEP_NEW_KEYRING,
  STEP_COUNT
};

/* Flags of a step. */
enum
{
  ON_HOST = 1,                 /* the target is a path of the host, not below the new root */
  MAKE_TARGET = 2,             /* make the target when it is missing */
  IF_PRESENT = 4,              /* a missing target is no error */
  RECURSIVE = 8,               /* bind: the mounts below the source too */
  ATTR_RECURSIVE = 16,         /* attributes: on the mounts below too */
  NO_SYMLINKS = 32,            /* no component of the target may be a symlink */
  KEEP_GROUPS = 64,            /* user: setgroups is denied here, user_namespaces(7) */
  PROPAGATION_RECURSIVE = 128, /* propagation: of the mounts below too */
  IDMAP_RECURSIVE = 256,       /* ids of the mounts below are mapped too */
  NO_CONSOLE = 512,            /* terminal: there is no /dev/console to be shown as */
  IN_PROC = 1024,              /* mounts: the target may be in a proc */
  PROC_SOURCE = 2048,          /* bind: the source must be in one */
  LIKE_TARGET = 4096,          /* fs: the last option, mode=NNNN, becomes the target's mode */
  COPY_UP = 8192,              /* fs: it begins with what the target has */
  SAME_NODE = 16384            /* node: one that is there must be the very same device */
};

/* Python -> launcher, one packet with the descriptors beside it: the fixed ones in this
 * order, then those that the command gets as 3, 4, …, then those of the plan itself, which
 * steps name by their number among these, and which exec closes. */
#define REQUEST_MAGIC 0x7274736eu
#define LET_GO_MAGIC 0x6f67746cu /* no request: end, and let live what was started */
enum
{
  FD_PLAN,
  FD_REPORT,
  FD_STATUS,
  FD_STDIN,
  FD_STDOUT,
  FD_STDERR,
  FD_FIXED,
  FD_MAX = 250, /* SCM_MAX_FD is 253 */
  MOST_OWN = 8
};
enum
{
  WANT_TIMES = 1, /* report what each step took */
  WANT_NEXT = 2,  /* more requests like this one may follow: have a process ready */
  WANT_BIRTH = 4, /* the plan has a STEP_BIRTH */
  WANT_KEPT = 16  /* the only one: it is not collected before it is known who keeps it */
};
struct request
{
  uint32_t magic;
  uint32_t flags;
  uint64_t clone_flags; /* CLONE_NEW*: the namespaces to be born in */
  uint32_t own, passed; /* how many descriptors of the plan's, and of the command's */
};

/* newroot-init -> Python, on the report socket.  It is closed by a successful
 * exec, so end of file without REPORT_FAILED means: the command runs. */
enum
{
  REPORT_FAILED = 1, /* a step failed */
  REPORT_TIMES,      /* nanoseconds per step, as uint64_t */
  REPORT_WAITING,    /* a step waits for one byte, and maybe descriptors beside it */
  REPORT_TERMINAL    /* the terminal's master end comes with it */
};
struct report
{
  uint32_t kind;
  uint32_t index; /* of the step, from 0 */
  int32_t error;  /* errno; of a step that waits: a descriptor for Python to take, or 0 */
  uint32_t call;  /* which call of the step failed: a system call number, 0 if none; of a
                     hook with ECANCELED: how it ended, as wait4(2) tells */
  char log[256];  /* the kernel's words from the fs context */
};

/* launcher -> Python, on the status socket: first STATUS_STARTED with a pidfd,
 * at last STATUS_ENDED. */
enum
{
  STATUS_STARTED = 1,
  STATUS_ENDED,
  STATUS_REFUSED /* the request itself was wrong, or clone failed */
};
struct status
{
  uint32_t kind;
  int32_t pid;   /* as the launcher sees it */
  int32_t code;  /* CLD_EXITED, CLD_KILLED, CLD_DUMPED; or errno */
  int32_t value; /* exit status or signal */
  uint64_t user_us, system_us, max_rss_kib;
};

/* Python -> launcher, once: keep the container that you have as its monitor, when I am gone
 * too.  With it come the fixed descriptors, then the terminal; or the reading ends of the
 * command's 1 and 2, then the writing end of its 0 if that is kept; then the plan's own. */
#define KEEP_MAGIC 0x7065656bu
enum
{
  KEEP_PLAN,          /* to begin again by */
  KEEP_DIRECTORY,     /* the container's: log, exit.json */
  KEEP_RUN_DIRECTORY, /* pid */
  KEEP_LISTENER,      /* a SOCK_SEQPACKET socket for those who attach */
  KEEP_EVENTS,        /* where events are noted: linux/journal.py */
  KEEP_ACT,           /* the words of the command that KEEP_LAST_ACT and KEEP_AGAIN_BY_ACT mean */
  KEEP_FIXED
};
enum
{
  KEEP_TERMINAL = 1,
  KEEP_STDIN = 2,
  KEEP_STDIN_ONCE = 4,   /* the first who closes his input closes the command's */
  KEEP_PLAIN = 8,        /* the log's form: see log.h */
  KEEP_LAST_ACT = 16,    /* when it is over for good, become a command that clears away */
  KEEP_AGAIN_BY_ACT = 32 /* to begin again, become a command that starts it */
};
enum
{
  RESTART_NO,
  RESTART_ON_FAILURE,
  RESTART_ALWAYS
};
struct keep
{
  uint32_t magic;
  uint32_t flags;
  uint64_t clone_flags;
  uint32_t policy, most_restarts; /* on failure: 0 is no end of them */
  uint32_t log_files, restarts;   /* 0: no log; how often it began anew already */
  uint64_t log_bytes;             /* in one file; 0: no limit */
  uint32_t delay_ms, own;         /* that it had before it began anew last; see above */
  uint32_t check_ms, reserved;    /* between two health checks; 0: there are none */
  char id[64];                    /* the container's */
};

/* A visitor's packets to the monitor, and the monitor's to him: the first byte says what. */
enum
{
  MONITOR_INPUT = 'i',  /* then what was typed */
  MONITOR_CLOSE = 'c',  /* no more input */
  MONITOR_SIZE = 'w',   /* then rows and columns, uint16_t each */
  MONITOR_STOP = 's',   /* it is to end: do not begin again */
  MONITOR_POLICY = 'p', /* then the policy, a byte, and most_restarts, uint32_t */
  MONITOR_OUTPUT = 'o', /* then what it said */
  MONITOR_ERRORS = 'e',
  MONITOR_END = 'x' /* then 1 for a signal or 0, and its number or the exit code */
};

#endif
