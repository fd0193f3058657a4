#!/bin/sh
# box.sh NAME DIRECTORY: a machine for a container engine, which ends with this process' stdin.
#
# Namespaces of its own of every kind but user, so that daemons, networks, firewall rules and mounts
# stay in it and die with it; cgroups below NAME, which it sees as the roots of the hierarchies.
# The directories where engines keep state without an option for it are below DIRECTORY.
# Prints "ready".  enter.sh runs a command in there.
set -eu
name=$1 directory=$2

for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -e "$hierarchy/cgroup.procs" ] || continue
  mkdir -p "$hierarchy/$name"
  for file in cpuset.cpus cpuset.mems; do # v1: empty at first, and then nobody may enter
    [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$name/$file"
  done
  echo $$ >"$hierarchy/$name/cgroup.procs"
done

# The inner script is pid 1 of its namespace: nothing in there outlives it.
# shellcheck disable=SC2016
exec unshare --mount --uts --ipc --net --cgroup --pid --fork --kill-child --mount-proc sh -euc '
  directory=$1
  awk '\''$5 ~ "^/sys/fs/cgroup(/|$)" {
    for (i = 7; $i != "-"; i++);
    print $5, $(i + 1), $(i + 3)
  }'\'' /proc/self/mountinfo | while read -r place type options; do
    case $type in # the kernel wants no file system twice on one place
    cgroup) umount "$place" && mount -t cgroup -o "${options#rw,}" none "$place" ;;
    cgroup2) umount "$place" && mount -t cgroup2 none "$place" && mkdir "$place/tools" ;;
    esac
  done
  for place in /run /dev/shm /var/lib/cni /var/lib/containers /etc/docker /etc/cni; do
    [ -d "$place" ] || continue
    mkdir -p "$directory/box$place"
    mount --bind "$directory/box$place" "$place"
  done
  ip link set lo up
  hostname box
  echo ready
  exec docker-init -- cat' box "$directory"
