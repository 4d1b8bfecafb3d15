#!/bin/bash
# Installs the named Debian packages, or those that building and testing need: the ones that are missing.
set -euo pipefail
[ $# -gt 0 ] || set -- gcc g++ make binutils python3-venv python3-dev debootstrap clang-format clang git
need=()
for p in "$@"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q "ok installed" || need+=("$p")
done
[ ${#need[@]} -eq 0 ] && exit 0
[ "$(id -u)" = 0 ] || { echo "missing packages: ${need[*]} (install them, or run as root)" >&2; exit 1; }
echo "installing ${need[*]} …"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
