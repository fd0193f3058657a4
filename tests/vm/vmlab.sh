#!/bin/bash
# vmlab.sh - a throw-away Debian 12 VM under QEMU's software emulation (TCG, never KVM), to test a
# container runtime on a systemd + pure cgroup v2 host. Needs root and the Makefile's VM_PACKAGES.
#   vmlab.sh build            build root.img, vmlinuz, initrd (and the warm snapshot) in $VMLAB_DIR
#   vmlab.sh run DIR 'CMD'    boot, run CMD with bash as root in /host (= DIR, read-write), print its
#                             output, exit with its status (125: the VM gave none, 124: time-out);
#                             if it is not 0, the journal's and the console's tail go to stderr
# In the VM: user "tester" (uid 1000, subuid/subgid, lingering: systemd user manager is up);
#   `asuser CMD ARG...` runs a command inside tester's systemd user session.
# Settings: VMLAB_DIR VMLAB_MEM VMLAB_SMP VMLAB_CPU VMLAB_TIMEOUT VMLAB_COLD=1 (full boot instead of
#   resuming the warm snapshot) VMLAB_RO=1 (DIR read-only) VMLAB_OUT=DIR2 (at /out, read-write)
#   VMLAB_PKGS=a,b (more packages, at build) VMLAB_SETUP=SCRIPT (run at build on the host, at native
#   speed, with $ROOT = the guest's root directory: put what tests need there, not through slow 9p)
set -euo pipefail
LAB=${VMLAB_DIR:-${TMPDIR:-/tmp}/newroot-vm}
MEM=${VMLAB_MEM:-2048} SMP=${VMLAB_SMP:-2} CPU=${VMLAB_CPU:-Nehalem}
SUITE=${VMLAB_SUITE:-bookworm} KERNEL=${VMLAB_KERNEL:-linux-image-amd64}   # the cloud kernel has no 9p
PKGS=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,uidmap,python3
PKGS+=,runc,podman,netavark,slirp4netns,passt,iptables,nftables,iproute2,kmod,procps,busybox-static
PKGS+=${VMLAB_PKGS:+,$VMLAB_PKGS}
log() { printf '[vmlab %4ds] %s\n' "$SECONDS" "$*" >&2; }

build() {
    umask 022
    mkdir -p "$LAB"; cd "$LAB"
    local r=$LAB/rootfs kdeb kver
    rm -rf "$r" root.img vmlinuz initrd warm.*

    log "root filesystem (mmdebstrap), and its suite's kernel package, downloaded but not installed"
    mmdebstrap --quiet --mode=root --variant=minbase --include="$PKGS" \
        --dpkgopt=force-unsafe-io --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook='cd "$1/boot" && export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG && apt-get -qq download \
            "$(apt-cache depends '"$KERNEL"' | sed -n "s/.*Depends: \(linux-image-[0-9]\)/\1/p" | head -1)"' \
        "$SUITE" "$r"

    log "kernel: vmlinuz and only the modules a VM can use; no initramfs-tools"
    kdeb=$(echo "$r"/boot/linux-image-*.deb)
    kver=$(dpkg-deb -f "$kdeb" Package); kver=${kver#linux-image-}
    dpkg-deb --fsys-tarfile "$kdeb" | tar -x -C "$r" --keep-directory-symlink \
        --wildcards --no-wildcards-match-slash --no-anchored \
        "vmlinuz-*" "config-*" "modules.builtin*" "modules.order" \
        "$kver/kernel/arch" "$kver/kernel/crypto" "$kver/kernel/lib" "$kver/kernel/fs" \
        "$kver/kernel/net" "$kver/kernel/drivers/virtio" "$kver/kernel/drivers/block" \
        "$kver/kernel/drivers/char" "$kver/kernel/drivers/md" "$kver/kernel/drivers/net/*.ko*"
    rm "$kdeb"
    chroot "$r" depmod "$kver"
    cp "$r/boot/vmlinuz-$kver" vmlinuz

    log "guest settings"
    guest_files "$r"
    if [ -n "${VMLAB_SETUP:-}" ]; then ROOT=$r bash -eu "$VMLAB_SETUP" >&2; fi

    log "initrd (busybox and the modules that reach the root disk)"
    local i=$LAB/initrd.d m
    rm -rf "$i"; mkdir -p "$i"/{bin,dev,proc,sys,mod,root}
    cp "$r/bin/busybox" "$i/bin/busybox"
    chroot "$r" modprobe -S "$kver" -a --show-depends virtio_pci virtio_blk crc32c_generic ext4 |
        awk '$1=="insmod" && !seen[$2]++ {print $2}' | while read -r m; do
            cp "$r$m" "$i/mod/"; basename "${m%.xz}" >>"$i/mod/order"; done
    find "$i/mod" -name '*.xz' -exec xz -d {} +     # newer suites compress modules
    cat >"$i/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
while read -r m; do $b insmod /mod/$m; done </mod/order
n=0; until [ -b /dev/vda ] || [ $n -gt 100 ]; do $b sleep 0.1; n=$((n+1)); done
$b mount -t ext4 -o rw,noatime /dev/vda /root || exec $b poweroff -f
$b mount -o move /dev /root/dev
exec $b switch_root /root /sbin/init
INIT
    chmod 755 "$i/init"
    (cd "$i" && find . | cpio -o -H newc --quiet) >initrd

    log "disk image (mke2fs -d, no loop mount)"
    rm -f root.img; truncate -s 6G root.img
    mke2fs -q -F -t ext4 -O ^has_journal -m 0 -L vmlab -E root_owner=0:0 -d "$r" root.img
    rm -rf "$r" "$i"
    log "built: $(du -sh --apparent-size root.img | cut -f1) image ($(du -sh root.img | cut -f1) used)"
    if [ -z "${VMLAB_COLD:-}" ]; then warm; fi
}

guest_files() {   # $1: root directory
    local r=$1 u
    echo vmlab >"$r/etc/hostname"
    printf '127.0.0.1 localhost vmlab\n::1 localhost\n' >"$r/etc/hosts"
    echo 'vmlab0vmlab0vmlab0vmlab0vmlab0ab' | md5sum | cut -c1-32 >"$r/etc/machine-id"
    chroot "$r" useradd -m -u 1000 -s /bin/bash tester    # also allots subuid/subgid 100000:65536
    mkdir -p "$r/var/lib/systemd/linger"; : >"$r/var/lib/systemd/linger/tester"
    printf '%s\n' 9p 9pnet_virtio virtio_console overlay tun >"$r/etc/modules-load.d/vmlab.conf"
    # There is no udev, which would take an eighth of the boot: what its rules open to users.
    printf 'z /dev/%s 0666\n' net/tun fuse >"$r/etc/tmpfiles.d/vmlab.conf"
    for u in getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer \
             dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
             podman-auto-update.timer podman-auto-update.service podman-restart.service podman.service \
             modprobe@.service systemd-binfmt.service systemd-pstore.service systemd-random-seed.service \
             systemd-hwdb-update.service systemd-pcrphase.service systemd-pcrphase-sysinit.service; do
        ln -sf /dev/null "$r/etc/systemd/system/$u"
    done
    # without this file rootless podman takes the vfs driver
    printf '[storage]\ndriver="overlay"\nrunroot="/run/containers/storage"\ngraphroot="/var/lib/containers/storage"\n' \
        >"$r/etc/containers/storage.conf"
    rm -f "$r/etc/cni/net.d/87-podman-bridge.conflist"   # netavark is used
    cat >"$r/etc/systemd/system/vmlab.target" <<'T'
[Unit]
Requires=multi-user.target
After=multi-user.target vmlab.service
Wants=vmlab.service
AllowIsolate=yes
T
    cat >"$r/etc/systemd/system/vmlab.service" <<'S'
[Unit]
Description=vmlab command runner
After=multi-user.target user@1000.service
Wants=user@1000.service
[Service]
Type=exec
ExecStart=/usr/local/sbin/vmlab-agent
Delegate=yes
TasksMax=infinity
Environment=HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
StandardOutput=journal+console
S
    ln -sf vmlab.target "$r/etc/systemd/system/default.target"
    cat >"$r/usr/local/sbin/vmlab-agent" <<'A'
#!/bin/bash
# Says it is ready, waits for "go EPOCH" from the host, mounts the shares, runs the command, powers off.
port() { local f=(/sys/class/virtio-ports/*); f=$(grep -lx "$1" "${f[@]/%//name}"); echo "/dev/$(basename "${f%/name}")"; }  # no udev here
exec 3>"$(port vmlab.out)" 4<"$(port vmlab.in)"
echo "vmlab: ready, uptime $(cut -d' ' -f1 /proc/uptime)"
until read -r _ now <&4; do sleep 0.2; done
exec 4<&-
date -s "@$now" >/dev/null
o=trans=virtio,version=9p2000.L,msize=524288,cache=mmap
mkdir -p /host /out /run/vmlab
mount -t 9p -o $o,cache=none vmctl /run/vmlab
w=rw; [ ! -e /run/vmlab/ro ] || w=ro
mount -t 9p -o $o,$w vmwork /host
mount -t 9p -o $o vmout /out
cut -d' ' -f1 /proc/uptime >/run/vmlab/started
cd /host
timeout -k 20 "$(cat /run/vmlab/limit)" bash /run/vmlab/cmd </dev/null >&3 2>&1 3>&-
rc=$?
if [ $rc -ne 0 ]; then
    { ps --ppid 2 -N -o pid,user:8,stat,wchan:20,args --forest; free -m; journalctl -b --no-pager --no-hostname -n 40; } >/run/vmlab/journal 2>&1
fi
cd /
echo $rc >/run/vmlab/rc
exec 3>&-
sync
echo o >/proc/sysrq-trigger; sleep 10; poweroff -ff
A
    cat >"$r/usr/local/bin/asuser" <<'U'
#!/bin/sh
# Runs a command as tester inside tester's own systemd user manager, as a login session would.
exec systemd-run --quiet --user -M tester@.host --pipe --wait --collect --same-dir \
    -E XDG_RUNTIME_DIR=/run/user/1000 -E DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus \
    -p Delegate=yes -- "$@"
U
    chmod 755 "$r/usr/local/sbin/vmlab-agent" "$r/usr/local/bin/asuser"
    : >"$r/etc/.updated"; : >"$r/var/.updated"    # nothing to refresh at first boot
}

# The machine; the same for cold boot, for taking the warm snapshot and for resuming it.
# $1 disk, $2 work dir, $3 ctl dir, $4 out dir, then more arguments (chardevs "in" and "out" among
# them). It execs: call it in a bash of its own. It ends with its parent, however that ended.
qemu() {
    local disk=$1 work=$2 ctl=$3 out=$4; shift 4
    local ro=off; [ -z "${VMLAB_RO:-}" ] || ro=on
    exec setpriv --pdeathsig KILL qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -name vmlab \
        -M q35 -accel tcg,thread=multi,tb-size=512 -cpu "$CPU" -smp "$SMP" -m "$MEM" \
        -kernel "$LAB/vmlinuz" -initrd "$LAB/initrd" \
        -append "console=ttyS0 quiet loglevel=4 mitigations=off nowatchdog rcupdate.rcu_expedited=1 panic=-1 net.ifnames=0 systemd.show_status=false ${VMLAB_APPEND:-}" \
        -drive "if=none,id=d0,cache=unsafe,$disk" -device virtio-blk-pci,drive=d0 \
        -device virtio-rng-pci -device virtio-serial-pci \
        -device virtserialport,chardev=out,name=vmlab.out -device virtserialport,chardev=in,name=vmlab.in \
        -fsdev "local,id=work,path=$work,security_model=passthrough,readonly=$ro" \
        -device virtio-9p-pci,fsdev=work,mount_tag=vmwork \
        -fsdev "local,id=ctl,path=$ctl,security_model=none" -device virtio-9p-pci,fsdev=ctl,mount_tag=vmctl \
        -fsdev "local,id=out,path=$out,security_model=passthrough" -device virtio-9p-pci,fsdev=out,mount_tag=vmout \
        "$@"
}

# Boots once up to the agent's wait, saves the machine's state (nothing of 9p is mounted yet, which
# would forbid it) and the disk's changes; run() resumes from there.
warm() {
    local t=${VMLAB_BOOT_TIMEOUT:-600}
    cd "$LAB"; rm -f warm.*; mkdir -p none
    log "warm snapshot: one boot, then the VM's state to a file"
    qemu-img create -q -f qcow2 -b root.img -F raw warm.qcow2
    # An empty line does nothing, but ends the wait once QEMU has gone.
    {   for _ in $(seq $((t * 5))); do grep -qs 'vmlab: ready' warm.console && break; sleep 0.2; echo; done
        sleep 2      # let the boot's tail settle
        echo 'migrate_set_parameter max-bandwidth 10G'
        echo 'migrate "exec:zstd -q -1 -f -o warm.state"'
        echo quit
    } | VMLAB_RO='' VMLAB_APPEND='' setpriv --pdeathsig TERM timeout --foreground -k 10 $((t + 60)) bash -c "$(declare -f qemu); qemu \"\$@\"" - \
        file=warm.qcow2,format=qcow2 none none none -chardev file,id=in,path=/dev/null -chardev file,id=out,path=/dev/null \
        -serial file:warm.console -monitor stdio >warm.log 2>&1 || true
    if ! grep -qs 'vmlab: ready' warm.console || [ ! -s warm.state ]; then
        log "the VM did not boot in $t s, or its state could not be saved; QEMU's words and the console's last:"
        { grep -a '^Error\|^qemu' warm.log; tail -40 warm.console; } >&2 || true
        rm -f warm.*; return 1
    fi
    echo "MEM=$MEM SMP=$SMP CPU=$CPU" >warm.env
    log "warm snapshot: $(du -sh --apparent-size warm.state | cut -f1) state, $(du -sh warm.qcow2 | cut -f1) disk"
}

run() {
    local dir cmd=$2 t=${VMLAB_TIMEOUT:-900} tmp rc cat
    dir=$(cd "$1" && pwd)
    [ -e "$LAB/root.img" ] || { log "no image: run '$0 build' first"; exit 125; }
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmlab.XXXXXX"); mkdir "$tmp/ctl" "$tmp/out"
    trap 'rm -rf "$tmp"' EXIT
    printf '%s\n' "$cmd" >"$tmp/ctl/cmd"
    echo "$t" >"$tmp/ctl/limit"   # the guest's own; ours is for a guest that no longer counts
    [ -z "${VMLAB_RO:-}" ] || : >"$tmp/ctl/ro"
    mkfifo "$tmp/port"; exec 9<>"$tmp/port"      # held open, so that cat ends even if qemu never starts
    cat "$tmp/port" 9>&- & cat=$!
    rc=0
    local disk="file=$LAB/root.img,format=raw,snapshot=on" more=()
    if [ -z "${VMLAB_COLD:-}" ] && [ -e "$LAB/warm.state" ]; then
        . "$LAB/warm.env"    # the resumed machine must be the saved one
        disk="file=$LAB/warm.qcow2,format=qcow2,snapshot=on"; more=(-incoming "exec:zstd -dcq $LAB/warm.state")
    fi
    echo "go $(date +%s)" | TMPDIR=$tmp setpriv --pdeathsig TERM timeout --foreground -k 10 $((t + 120)) bash -c "$(declare -f qemu); qemu \"\$@\"" - \
        "$disk" "$dir" "$tmp/ctl" "${VMLAB_OUT:-$tmp/out}" \
        -chardev "file,id=out,path=$tmp/port" -chardev stdio,id=in,signal=off \
        -serial "file:$tmp/console" ${more[@]+"${more[@]}"} >"$tmp/qemu.log" 2>&1 9>&- || rc=$?
    exec 9>&-
    wait "$cat" 2>/dev/null || true
    [ -z "${VMLAB_DEBUG:-}" ] || { cat "$tmp/console" >&2; log "agent start: uptime $(cat "$tmp/ctl/started")"; }
    if [ -s "$tmp/ctl/rc" ]; then
        rc=$(cat "$tmp/ctl/rc")
        [ "$rc" = 0 ] && exit 0
        case $rc in 124 | 137) log "exit status $rc: was it ended because it was not done after $t s?" ;; esac
        log "exit status $rc; the VM's processes, memory and journal, then its console:"
        { cat "$tmp/ctl/journal"; tail -20 "$tmp/console"; } >&2 || true
        exit "$rc"
    fi
    log "the VM gave no exit status (qemu: $rc; 124: no answer for $((t + 120)) s); QEMU's words and the console's last:"
    { tail -5 "$tmp/qemu.log"; tail -40 "$tmp/console"; } >&2 || true
    [ "$rc" = 124 ] && exit 124; exit 125
}

export LAB MEM SMP CPU
case ${1:-} in
    build) build ;;
    warm) cd "$LAB"; warm ;;
    run) [ $# -eq 3 ] || { echo "usage: $0 run DIR 'COMMAND'" >&2; exit 2; }; run "$2" "$3" ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
