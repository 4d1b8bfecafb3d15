#!/bin/bash
# Makes the Debian root file system that `make run` and the tests use, once; prints its path as its last line.
# Usage: tools/mkrootfs.sh [CACHE_DIR]
set -euo pipefail
cache=${1:-${NVSANDBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nvsandbox}}
suite=bookworm
packages=python3,gcc,g++,libc6-dev,make,git,perl,procps,sqlite3,libsqlite3-dev,vim-tiny,less,tmux,xz-utils,file,bc,ca-certificates,zlib1g-dev,strace,ncurses-term
key=$(printf '%s' "$suite $packages 1" | sha256sum | cut -c1-12)
root=$cache/rootfs-$suite-$key
mkdir -p "$cache"
exec 9>"$cache/mkrootfs.lock" # another may be at it
flock 9
if [ ! -e "$root/.complete" ]; then
  command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap >&2; }
  mirror=$(awk '/^(URIs:|deb )/ {print $2; exit}' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true)
  echo "making the Debian root file system (once, a few minutes) …" >&2
  rm -rf "$root.tmp"
  debootstrap --variant=minbase --include="$packages" "$suite" "$root.tmp" "${mirror:-http://deb.debian.org/debian}" >"$cache/debootstrap.log" 2>&1 ||
    { tail -20 "$cache/debootstrap.log" >&2; exit 1; }
  rm -rf "$root.tmp"/var/cache/apt/archives/*.deb "$root.tmp"/var/lib/apt/lists/*
  touch "$root.tmp/.complete"
  rm -rf "$root"
  mv "$root.tmp" "$root"
fi
echo "$root"
