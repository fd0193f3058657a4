/* steps.h: one function a step.  Each returns 0 or -errno and leaves words to Python. */

#ifndef NEWROOT_STEPS_H
#define NEWROOT_STEPS_H

#include "plan.h"

/* mount.c */
int step_mount_fs (struct run *run, struct step *step);
int step_mount_overlay (struct run *run, struct step *step);
int step_hold_tree (struct run *run, struct step *step);
int step_bind_mount (struct run *run, struct step *step);
int step_set_attr (struct run *run, struct step *step);
int step_mask (struct run *run, struct step *step);
int step_make_readonly (struct run *run, struct step *step);
int step_use_root (struct run *run, struct step *step);
int step_pivot_root (struct run *run, struct step *step);
int step_move_root (struct run *run, struct step *step);
int step_chroot (struct run *run, struct step *step);
int step_detach_old_root (struct run *run, struct step *step);

/* files.c */
int step_make_dir (struct run *run, struct step *step);
int step_write_file (struct run *run, struct step *step);
int step_make_node (struct run *run, struct step *step);
int step_make_symlink (struct run *run, struct step *step);
int step_set_proc (struct run *run, struct step *step);
int step_join_cgroup (struct run *run, struct step *step);

/* terminal.c */
int step_open_terminal (struct run *run, struct step *step);

/* isolate.c */
int step_unshare (struct run *run, struct step *step);
int step_set_namespace (struct run *run, struct step *step);
int step_wait (struct run *run, struct step *step);
int step_map_ids (struct run *run, struct step *step);
int step_die_with_parent (struct run *run, struct step *step);
int step_new_session (struct run *run, struct step *step);
int step_set_hostname (struct run *run, struct step *step);
int step_set_domainname (struct run *run, struct step *step);
int step_link_up (struct run *run, struct step *step);
int step_move_interfaces (struct run *run, struct step *step);
int ask_parent (struct run *run, int fd);

/* birth.c */
int step_join_process (struct run *run, struct step *step);
int step_birth (struct run *run, struct step *step);

/* identity.c */
int step_set_rlimit (struct run *run, struct step *step);
int step_set_bounding (struct run *run, struct step *step);
int step_set_user (struct run *run, struct step *step);
int step_set_capabilities (struct run *run, struct step *step);
int step_new_keyring (struct run *run, struct step *step);
int step_set_no_new_privs (struct run *run, struct step *step);
int step_load_seccomp (struct run *run, struct step *step);
int step_set_cwd (struct run *run, struct step *step);

/* tuning.c */
int step_set_scheduler (struct run *run, struct step *step);
int step_set_affinity (struct run *run, struct step *step);
int step_set_io_priority (struct run *run, struct step *step);
int step_set_memory_policy (struct run *run, struct step *step);
int step_set_personality (struct run *run, struct step *step);

/* hook.c */
int step_run_hook (struct run *run, struct step *step);

/* command.c */
int step_await_start (struct run *run, struct step *step);
int step_reap (struct run *run, struct step *step);
int step_exec (struct run *run, struct step *step);

#endif
