"""Bundles that differ from the base in the root or the mounts: config.md, "Root" and "Mounts"."""

from __future__ import annotations

from differential.bundles import at, case, linux, mount, namespace, unmount, user_namespace

# ── root ─────────────────────────────────────────────────────────────────────────────────────

case(
    "root-readonly", at("root.readonly", True), probes="create:/new create:/dev/new create:/tmp/new"
)
case("root-writable", probes="create:/new create:/dev/new", expect={"probes/create:/new": "ok"})
case("root-absolute", at("root.path", "@BUNDLE@/rootfs"))
case("root-with-dots", at("root.path", "./rootfs/full/.."))
case("root-not-there", at("root.path", "nowhere"), refused="nowhere")
case("root-a-file", at("root.path", "config.json"), refused="config.json")
case(
    "root-readonly-with-a-writable-mount",
    at("root.readonly", True),
    mount("/tmp", "tmpfs", "tmpfs"),
    probes="create:/tmp/new",
)
for word in (
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
):
    case(f"rootfs-propagation-{word}", linux(rootfsPropagation=word))

# ── tmpfs and its options ────────────────────────────────────────────────────────────────────

OPTIONS = (
    *("nosuid", "nodev", "noexec", "ro", "rw", "relatime", "norelatime", "noatime", "strictatime"),
    *("nodiratime", "sync", "dirsync", "nosymfollow", "defaults", "suid", "dev", "exec", "atime"),
    *("diratime", "async", "mode=0700", "mode=1777", "uid=5", "gid=6", "size=64k", "nr_inodes=50"),
    *("ro,noexec,nosuid,nodev,noatime", "nosuid,suid", "ro,rw", "noatime,relatime", "lazytime"),
    *("nolazytime", "nostrictatime", "loud", "silent", "mand", "nomand", "symfollow"),
    *("iversion", "noiversion"),
    *("huge=never", "mpol=default", "private", "rshared", "slave", "unbindable", "shared,rslave"),
)
for options in OPTIONS:
    case(f"tmpfs-{options}", mount("/mnt", "tmpfs", "tmpfs", options), probes="stat:/mnt")
case("tmpfs-source-is-its-name", mount("/mnt", "tmpfs", "a name", "nosuid"))
case("tmpfs-without-source", mount("/mnt", "tmpfs", None, "nosuid"))
case(
    "tmpfs-copies-up",
    mount("/full", "tmpfs", "tmpfs", "tmpcopyup"),
    probes="list:/full list:/full/deep read:/full/file stat:/full/link stat:/full",
    expect={"probes/read:/full/file": "a file\n"},
)
for options in ("tmpcopyup,ro", "tmpcopyup,mode=0700", "tmpcopyup,size=64k", "nosuid,tmpcopyup"):
    case(
        f"tmpfs-{options}",
        mount("/full", "tmpfs", "tmpfs", options),
        probes="list:/full/deep read:/full/file stat:/full create:/full/new",
    )
case(
    "tmpfs-copies-up-what-is-mounted-there",
    mount("/mnt", "bind", "@BUNDLE@/rootfs/full", "bind"),
    mount("/mnt/deep", "tmpfs", "tmpfs", "tmpcopyup"),
    probes="list:/mnt/deep stat:/mnt/deep/file",
)
case(
    "tmpfs-copies-up-in-a-user-namespace",
    user_namespace(),
    mount("/full", "tmpfs", "tmpfs", "tmpcopyup"),
    probes="list:/full",
)
case(
    "tmpfs-copies-up-a-node",
    mount("/nodes", "tmpfs", "tmpfs", "tmpcopyup"),
    probes="stat:/nodes/null",
    peer=None,  # runc 1.1 fails at one
    expect={"probes/stat:/nodes/null": "c 1:3 0600 0:0"},
)
case("bind-with-tmpcopyup", mount("/mnt", "bind", "@BUNDLE@/rootfs/full", "bind,tmpcopyup"))
case(
    "tmpfs-copies-up-nothing", mount("/empty", "tmpfs", "tmpfs", "tmpcopyup"), probes="list:/empty"
)
case("tmpfs-over-full", mount("/full", "tmpfs", "tmpfs"), probes="list:/full stat:/full")
case("tmpfs-on-a-file", mount("/data", "tmpfs", "tmpfs"), refused="/data")

# ── where a mount goes ───────────────────────────────────────────────────────────────────────

case("target-is-made", mount("/made/here", "tmpfs", "tmpfs"), probes="stat:/made stat:/made/here")
case("target-through-a-link", mount("/link/deep", "tmpfs", "tmpfs"), probes="list:/full/deep")
case("target-is-a-link", mount("/link", "tmpfs", "tmpfs"), probes="list:/full")
case("target-is-an-absolute-link", mount("/absolute", "tmpfs", "tmpfs"), probes="list:/full/deep")
case("target-is-a-dangling-link", mount("/dangling", "tmpfs", "tmpfs"), probes="list:/nowhere/at")
case("target-is-a-link-out", mount("/out", "tmpfs", "tmpfs"), probes="list:/tmp")
case("target-with-dots", mount("/full/../tmp/../empty", "tmpfs", "tmpfs"))
case("target-relative", mount("mnt", "tmpfs", "tmpfs"))
case("target-twice", mount("/mnt", "tmpfs", "one"), mount("/mnt", "tmpfs", "two"))
case("target-below-a-target", mount("/mnt", "tmpfs", "one"), mount("/mnt/a/b", "tmpfs", "two"))
case("target-above-a-target", mount("/mnt/a", "tmpfs", "one"), mount("/mnt", "tmpfs", "two"))
case("target-in-dev", mount("/dev/own", "tmpfs", "tmpfs"), probes="stat:/dev/own")
case(
    "target-a-new-file",
    mount("/new/file", "bind", "@BUNDLE@/config.json", "bind,ro"),
    probes="stat:/new stat:/new/file write:/new/file",
)

# ── binds ────────────────────────────────────────────────────────────────────────────────────

SOURCE = "@BUNDLE@/rootfs/full"
for options in (
    *(
        "bind",
        "rbind",
        "bind,ro",
        "rbind,ro",
        "bind,nosuid,nodev,noexec",
        "bind,noatime",
        "bind,rw",
    ),
    *(
        "bind,private",
        "bind,shared",
        "rbind,rshared",
        "bind,slave",
        "rbind,rslave",
        "rbind,rprivate",
    ),
    *(
        "bind,unbindable",
        "bind,ro,relatime",
        "rbind,rro",
        "rbind,rnosuid,rnodev,rnoexec",
        "bind,rw,ro",
    ),
    *("rbind,rnoatime", "rbind,ro,rrw", "bind,nosymfollow", "bind,noexec,exec"),
):
    case(
        f"bind-{options}",
        mount("/mnt", "bind", SOURCE, options),
        probes="list:/mnt write:/mnt/file",
    )
case("bind-without-type", mount("/mnt", None, SOURCE, "rbind"), probes="list:/mnt")
case(
    "bind-of-type-none",
    mount("/mnt", "none", SOURCE, "bind,ro"),
    probes="list:/mnt write:/mnt/file",
)
case("bind-without-its-option", mount("/mnt", "bind", SOURCE), probes="list:/mnt")
case("bind-a-relative-source", mount("/mnt", "bind", "rootfs/full", "bind"), probes="list:/mnt")
case(
    "bind-a-link-s-target",
    mount("/mnt", "bind", "@BUNDLE@/rootfs/link", "bind"),
    probes="list:/mnt",
)
case(
    "bind-a-file-on-a-file",
    mount("/data", "bind", "@BUNDLE@/rootfs/full/file", "bind"),
    probes="read:/data",
)
case(
    "bind-a-file-on-a-directory",
    mount("/full", "bind", "@BUNDLE@/config.json", "bind"),
    refused="/full",
)
case("bind-a-directory-on-a-file", mount("/data", "bind", SOURCE, "bind"), refused="/data")
case(
    "bind-nothing",
    mount("/mnt", "bind", "/no/such/directory", "bind"),
    refused="/no/such/directory",
)
case(
    "bind-the-root-read-only",
    mount("/mnt", "bind", "@BUNDLE@/rootfs", "bind,ro"),
    probes="list:/mnt",
)
case("bind-on-proc", mount("/proc/self", "bind", SOURCE, "bind"), refused="/proc/self")
case(
    "bind-a-file-on-proc-uptime",
    mount("/proc/uptime", "bind", "@BUNDLE@/rootfs/data", "bind"),
    probes="read:/proc/uptime",
)
case("bind-a-device", mount("/dev/mine", "bind", "/dev/zero", "bind"), probes="stat:/dev/mine")
case(
    "bind-the-host-s-dev",
    unmount("/dev"),
    unmount("/dev/pts"),
    mount("/dev", "bind", "/dev", "rbind,rslave"),
    probes="stat:/dev/null",
)

# ── the kernel's own file systems ────────────────────────────────────────────────────────────

case("no-mounts", at("mounts", []))
case("no-proc", unmount("/proc"))
case("no-sys", unmount("/sys"), probes="list:/sys")
case("no-dev", unmount("/dev/pts"), unmount("/dev"), probes="list:/dev")
case("no-devpts", unmount("/dev/pts"))
case(
    "proc-options",
    unmount("/proc"),
    mount("/proc", "proc", "proc", "nosuid,noexec,nodev,hidepid=2"),
)
case("proc-read-only", unmount("/proc"), mount("/proc", "proc", "proc", "ro"))
case("proc-of-another-name", unmount("/proc"), mount("/proc", "proc", "my-proc"))
case("sys-writable", unmount("/sys"), mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev"))
case(
    "devpts-options",
    unmount("/dev/pts"),
    mount("/dev/pts", "devpts", "pts", "newinstance,ptmxmode=0600,mode=600"),
)
case("devpts-max", unmount("/dev/pts"), mount("/dev/pts", "devpts", "pts", "newinstance,max=10"))
case("dev-shm", mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"))
case("dev-mqueue", mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"))
case(
    "dev-read-only",
    unmount("/dev"),
    unmount("/dev/pts"),
    mount("/dev", "tmpfs", "dev", "ro,mode=755"),
    probes="create:/dev/new",
)
case(
    "cgroup-in-a-namespace", namespace("cgroup"), mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
)
case(
    "cgroup-in-the-host-s",
    mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
)
case(
    "cgroup-writable", namespace("cgroup"), mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,rw")
)
case("an-unknown-file-system", mount("/mnt", "nofs", "nofs"), refused="nofs")
case("an-option-nobody-knows", mount("/mnt", "tmpfs", "tmpfs", "novelty"), refused="/mnt")
case("an-option-with-a-wrong-value", mount("/mnt", "tmpfs", "tmpfs", "size=much"), refused="/mnt")
case(
    "overlay",
    mount("/mnt", "overlay", "overlay", "lowerdir=@BUNDLE@/rootfs/full:@BUNDLE@/rootfs/etc"),
    probes="list:/mnt",
)
case("ramfs", mount("/mnt", "ramfs", "ramfs", "nosuid"))

# ── idmapped: after runc 1.1 ─────────────────────────────────────────────────────────────────

IDS = [{"containerID": 0, "hostID": 3000, "size": 1000}]
case(
    "bind-idmapped",
    mount("/mnt", "bind", SOURCE, "bind", uidMappings=IDS, gidMappings=IDS),
    peer=None,
    probes="stat:/mnt",
    expect={"probes/stat:/mnt": "d 0750 3000:3000"},
)
case(
    "bind-idmap-as-the-container-s",
    user_namespace(0),
    mount("/mnt", "bind", SOURCE, "bind,idmap"),
    peer=None,
    probes="stat:/mnt/file",
)
