/* terminal.c: a terminal inside, its master end handed to Python. */

#include "steps.h"

#include "packet.h"
#include "path.h"

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>

/* The container's own devpts, never a name that the image put there (CVE-2025-52565): the
 * directory is looked at before anything in it is opened, for to open a device is to act. */
static int
open_master (struct run *run)
{
  int pts CLEANUP_FD = open_in_root (run, "/dev/pts");
  if (pts < 0)
    return pts;
  if (!is_on (pts, DEVPTS_SUPER_MAGIC))
    return -ENODEV;
  int flags = O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC;
  return (int)attempt (run, __NR_openat, pts, "ptmx", flags);
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
