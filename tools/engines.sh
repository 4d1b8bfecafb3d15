#!/bin/bash
# Installs the container engines that tests/engines starts, those that are missing (Debian packages).
set -euo pipefail
need=()
for p in docker.io containerd runc podman conmon iptables iproute2 busybox-static netavark containernetworking-plugins; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q "ok installed" || need+=("$p")
done
[ ${#need[@]} -eq 0 ] && exit 0
[ "$(id -u)" = 0 ] || { echo "missing packages: ${need[*]} (install them, or run as root)" >&2; exit 1; }
echo "installing ${need[*]} …"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
