#!/bin/bash
# Makes the root file system for big programs (tests and benchmarks), once: the one of tools/mkrootfs.sh and, on top, Go, Java,
# node, PostgreSQL, redis, nginx, ffmpeg, PyTorch, wheels in /opt/wheels, the source of zlib in /opt/src and a package in /opt/deb
# that is not installed. Prints its path as its last line.
# Usage: tools/mkprograms.sh [CACHE_DIR]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-${NVSANDBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nvsandbox}}
base=$("$here/mkrootfs.sh" "$cache" | tail -1)
packages="golang-go default-jdk-headless dpkg-dev nodejs postgresql redis-server nginx-light wrk ffmpeg python3-pip"
wheel="django==4.2.16"
torch="torch==2.13.0"
key=$(printf '%s' "$(basename "$base") $packages $torch $wheel 2" | sha256sum | cut -c1-12)
root=$cache/programs-$key
exec 9>"$cache/mkprograms.lock" # another may be at it
flock 9
if [ ! -e "$root/.complete" ]; then
  echo "adding Go, Java, PyTorch, servers and ffmpeg to a copy of the root file system (once, a few minutes) …" >&2
  rm -rf "$root.tmp"
  cp -a "$base" "$root.tmp"
  rm "$root.tmp/.complete"
  log=$cache/programs.log
  : >"$log"
  cp /etc/resolv.conf "$root.tmp/etc/resolv.conf"
  # What lets the host's apt reach its mirror (a proxy, a certificate) is lent for the time of the installation.
  mkdir -p "$root.tmp/run/lent"
  cp -r /etc/apt/apt.conf.d "$root.tmp/run/lent/" 2>/dev/null || true
  cp /etc/ssl/certs/ca-certificates.crt "$root.tmp/run/lent/" 2>/dev/null || true
  mount -t proc proc "$root.tmp/proc"
  trap 'umount "$root.tmp/proc" 2>/dev/null || true' EXIT
  chroot "$root.tmp" env DEBIAN_FRONTEND=noninteractive bash -euc '
    rm -f /run/lent/apt.conf.d/*docker*
    apt="apt-get -o Dir::Etc::Parts=/run/lent/apt.conf.d -o Acquire::https::CaInfo=/run/lent/ca-certificates.crt"
    printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d  # no server is started here
    chmod 755 /usr/sbin/policy-rc.d
    sed -n "s/^deb /deb-src /p" /etc/apt/sources.list >/run/lent/src.list
    $apt update -q
    $apt install -y -q --no-install-recommends '"$packages"'
    mkdir -p /opt/deb /opt/src
    (cd /opt/deb && $apt download -q hello)
    $apt -o Dir::Etc::SourceParts=/run/lent -o Dir::Etc::SourceList=/run/lent/src.list update -q
    (cd /opt/src && $apt -o Dir::Etc::SourceParts=/run/none -o Dir::Etc::SourceList=/run/lent/src.list source -q --download-only zlib && dpkg-source -x zlib_*.dsc zlib)
    apt-get clean
    rm -rf /var/lib/apt/lists/*
  ' >>"$log" 2>&1 || { tail -30 "$log" >&2; exit 1; }
  umount "$root.tmp/proc"
  rm -rf "$root.tmp/run/lent"
  # The C extensions of wheels are for one version of Python: the root's, not ours.
  wheels=$cache/wheels
  mkdir -p "$wheels" "$root.tmp/opt/torch" "$root.tmp/opt/wheels"
  python=$("$root.tmp/usr/bin/env" -i true; readlink "$root.tmp/usr/bin/python3" | tr -dc 0-9.)
  "${PYTHON:-python3}" -m pip download -q --disable-pip-version-check --only-binary=:all: --python-version "$python" -d "$wheels" "$torch" numpy >>"$log" 2>&1 ||
    { tail -30 "$log" >&2; exit 1; }
  for w in "$wheels"/*.whl; do
    case $w in *nvidia_*|*triton*) ;; *) "${PYTHON:-python3}" -m zipfile -e "$w" "$root.tmp/opt/torch" ;; esac
  done
  "${PYTHON:-python3}" -m pip download -q --disable-pip-version-check --only-binary=:all: --python-version "$python" -d "$root.tmp/opt/wheels" "$wheel" >>"$log" 2>&1 ||
    { tail -30 "$log" >&2; exit 1; }
  touch "$root.tmp/.complete"
  rm -rf "$root"
  mv "$root.tmp" "$root"
fi
echo "$root"
