#!/bin/bash
# A machine of its own for systemd: new namespaces, control groups below one of the test's, and a root in memory with no way to the host's
# files but read-only ones (/usr, and the directories named). systemd as init empties /tmp and writes sysctls where it can: here it must
# not be able to, and it starts one unit of ours only.
#   systemd_world.sh NAME ROOT REPO READONLY_DIRECTORY…
set -euo pipefail
name=$1 root=$2 repo=$3
shift 3

if [ "${INSIDE:-}" = "" ]; then
  for hierarchy in /sys/fs/cgroup/*/; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    mkdir "$hierarchy/$name"
    if [ -e "$hierarchy/cpuset.cpus" ]; then
      cat "$hierarchy/cpuset.cpus" >"$hierarchy/$name/cpuset.cpus"
      cat "$hierarchy/cpuset.mems" >"$hierarchy/$name/cpuset.mems"
    fi
    echo $$ >"$hierarchy/$name/cgroup.procs"
  done
  INSIDE=1 exec unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup --propagation private "$0" "$name" "$root" "$repo" "$@"
fi

mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir usr etc proc sys dev run tmp var root old
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
ln -s usr/bin bin; ln -s usr/sbin sbin; ln -s usr/lib lib; ln -s usr/lib64 lib64
show() { # a host directory, read-only, at its own path
  mkdir -p ".$1"
  mount --bind "$1" ".$1"
  mount -o remount,bind,ro "$1" ".$1" 2>/dev/null || mount -o remount,bind,ro ".$1"
}
for d in /usr "$repo" "$@"; do show "$d"; done
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
while read -r kind options; do
  case $kind in
    cgroup2) mkdir sys/fs/cgroup/unified; mount -t cgroup2 cgroup2 sys/fs/cgroup/unified ;;
    cgroup)
      for o in ${options//,/ }; do
        case $o in
          name=systemd) mkdir sys/fs/cgroup/systemd; mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd ;;
          cpu | cpuacct | cpuset | memory | devices | freezer | blkio | pids)
            mkdir "sys/fs/cgroup/$o"; mount -t cgroup -o "$o" cgroup "sys/fs/cgroup/$o" ;;
        esac
      done ;;
  esac
done < <(awk '$3 ~ /^cgroup2?$/ { print $3, $4 }' /proc/mounts)
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do
  touch "dev/$d"
  mount --bind "/dev/$d" "dev/$d"
done
ln -s /proc/self/fd dev/fd
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mkdir -p etc/systemd/system etc/none run/lock
echo "root:x:0:0:root:/root:/bin/sh" >etc/passwd
echo "root:x:0:" >etc/group
echo 0123456789abcdef0123456789abcdef >etc/machine-id
: >etc/os-release
printf '[Unit]\nDefaultDependencies=no\n' >etc/systemd/system/world.target
pivot_root . old
cd /
umount -l /old
rmdir /old
# Nothing of the host may be writable: every mount is of memory, the kernel's own, or read-only.
bad=
while read -r _ _ _ _ where options rest; do
  read -r kind _ <<<"${rest#*- }"
  case $where:$options:$kind in
    *:ro,*:* | *:*:tmpfs | *:*:proc | *:*:cgroup | *:*:cgroup2 | *:*:devpts | /dev/*:*:devtmpfs) ;;
    *) bad+=" $where($kind)" ;;
  esac
done </proc/self/mountinfo
[ -z "$bad" ] || { echo "not contained: $bad" >&2; exit 9; }
if [ "${ONLY:-}" = check ]; then cat /proc/self/mountinfo; ls -la / /tmp; cat /proc/self/cgroup; touch /usr/x /etc/ok "$repo/x" 2>&1 || true; echo 1 2>/dev/null >/proc/sys/kernel/printk || echo "sysctl ro"; exit 0; fi
exec env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin container=nvtest SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/transient:/run/systemd/system.control SYSTEMD_GENERATOR_PATH=/etc/none \
  SYSTEMD_LOG_TARGET=console /usr/lib/systemd/systemd --system --unit=world.target
