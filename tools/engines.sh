#!/bin/bash
# Installs the container engines that tests/engines starts, those that are missing (Debian packages).
exec "$(dirname "$0")/apt.sh" docker.io containerd runc podman conmon iptables iproute2 busybox-static netavark \
  containernetworking-plugins uidmap slirp4netns
