/* terminal.c: a terminal inside, its master end handed to Python. */

#include "steps.h"

#include "packet.h"
#include "path.h"

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/stat.h>

/* struct statfs differs between machines; only its first word matters here. */
static int
is_devpts (int fd)
{
  long statfs[32] = { 0 };
  return sys (__NR_fstatfs, fd, statfs) == 0 && statfs[0] == DEVPTS_SUPER_MAGIC;
}

/* The container's own devpts, never a name that the image put there: CVE-2025-52565. */
static int
open_master (struct run *run)
{
  int master = open_in_root (run, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW, 0);
  if (master >= 0 && !is_devpts (master))
    {
      close_fd (&master);
      return -ENODEV;
    }
  return master;
}

static int
show_as_console (struct run *run, const struct step *step, int slave)
{
  char console[] = "/dev/console"; /* open_target may write to it */
  int target CLEANUP_FD = open_target (run, step, console, FILE);
  if (target < 0)
    return target;
  int mount CLEANUP_FD = (int)attempt (run, __NR_open_tree, slave, "",
                                       OPEN_TREE_CLOEXEC | OPEN_TREE_CLONE | AT_EMPTY_PATH);
  if (mount < 0)
    return mount;
  return (int)attempt (run, __NR_move_mount, mount, "", target, "",
                       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/* x: rows << 16 | columns, 0 for the kernel's; y: uid that will own it. */
int
step_open_terminal (struct run *run, struct step *step)
{
  int locked = 0;
  int master CLEANUP_FD = open_master (run);
  if (master < 0)
    return master;
  long done = attempt (run, __NR_ioctl, master, TIOCSPTLCK, &locked);
  if (done < 0)
    return (int)done;
  int slave CLEANUP_FD
      = (int)attempt (run, __NR_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0)
    return slave;
  if (step->x != 0)
    {
      unsigned short size[4]
          = { (unsigned short)(step->x >> 16), (unsigned short)(step->x & 0xffff), 0, 0 };
      done = attempt (run, __NR_ioctl, slave, TIOCSWINSZ, size);
    }
  if (done >= 0)
    done = attempt (run, __NR_fchown, slave, step->y, -1);
  if (done >= 0 && !(step->flags & NO_CONSOLE))
    done = show_as_console (run, step, slave);
  for (int fd = 0; done >= 0 && fd < 3; fd++)
    done = attempt (run, __NR_dup3, slave, fd, 0);
  if (done >= 0)
    done = attempt (run, __NR_ioctl, 0, TIOCSCTTY, 0);
  if (done < 0)
    return (int)done;
  struct report report = { .kind = REPORT_TERMINAL, .index = run->index };
  return (int)note (run, __NR_sendmsg,
                    send_packet (run->report, &report, sizeof report, &master, 1));
}
