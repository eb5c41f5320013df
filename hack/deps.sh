#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Installs missing Debian packages of the tests and of the lab. Fast if
# they are installed. Prints what is missing if it cannot install. Arguments add
# packages, in the form of the list below.
set -euo pipefail

# command=package, or file=package. The race detector needs a C compiler; nft needs
# netbase to print tcp instead of 6.
readonly needs=(
  gcc=gcc /usr/include/stdlib.h=libc6-dev git=git
  /etc/protocols=netbase ip=iproute2 nft=nftables conntrack=conntrack
  iptables=iptables curl=curl "$@"
)

say() { echo "deps: $*" >&2; }

# missing prints the packages whose command or file is not found. Daemons are in
# sbin, which is not in every user's PATH.
missing() {
  local need name
  for need in "${needs[@]}"; do
    name=${need%%=*}
    if [[ $name == /* ]]; then
      [[ -e $name ]] || echo "${need#*=}"
    else
      PATH=$PATH:/usr/sbin:/sbin command -v "$name" >/dev/null || echo "${need#*=}"
    fi
  done
}

install_quietly() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2 || say "apt-get update failed: trying with what is known"
  apt-get install --yes -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >&2
}

mapfile -t packages < <(missing)
((${#packages[@]})) || exit 0
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  say "missing: ${packages[*]}"
  say "as root on Debian: apt-get install ${packages[*]}"
  exit 1
fi
say "installing ${packages[*]}"
install_quietly "${packages[@]}" || say "apt-get failed"
mapfile -t packages < <(missing)
((${#packages[@]} == 0)) || { say "still missing: ${packages[*]}"; exit 1; }
