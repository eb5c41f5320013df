#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Downloads Debian's kernel for virtual machines, unpacks it in the cache, and prints
# its directory, which has the version in its name. It is not installed, and
# downloaded once: remove the directory to get a newer one.
set -euo pipefail

readonly package=linux-image-cloud-amd64 # depends on the package that has the kernel
cache=${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}/vm

say() { echo "vm-kernel: $*" >&2; }
die() { say "$*"; exit 1; }

# newest prints the existing directory.
newest() { find "$cache" -mindepth 1 -maxdepth 1 -name 'linux-image-*' | sort -V | tail -n 1; }

# wanted prints the name and version of the package that has the kernel.
wanted() {
  apt-cache show --no-all-versions "$package" 2>/dev/null |
    sed -n 's/^Depends: \(linux-image-[^ ]*\) (= \(.*\))$/\1 \2/p'
}

mkdir -p "$cache"
found=$(newest)
if [[ -z $found ]]; then
  [[ $(uname -m) == x86_64 ]] || die "only for x86_64"
  command -v apt-get >/dev/null || die "needs apt-get, to download Debian's package $package"
  # One process at a time: the second one finds everything in the cache.
  exec {lock}>"$cache/.lock"
  flock "$lock"
  found=$(newest)
fi
if [[ -z $found ]]; then
  work=$(mktemp -d "$cache/.tmp.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  read -r name version < <(wanted) || true
  # The package lists may be missing or too old for the download.
  if [[ -z ${name:-} ]] || ! (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$name=$version") 2>/dev/null; then
    ((EUID == 0)) || die "apt-get update is needed, as root"
    apt-get update -qq >&2 || say "apt-get update failed: trying with what is known"
    read -r name version < <(wanted) || die "there is no package $package"
    (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$name=$version") >&2 || die "$name cannot be downloaded"
  fi
  say "downloaded $name $version"
  dpkg-deb -x "$work/$name"_*.deb "$work/files"
  PATH=$PATH:/usr/sbin:/sbin depmod -b "$work/files" "${name#linux-image-}"
  found=$cache/$name-${version//[^A-Za-z0-9.+~-]/_}
  mv "$work/files" "$found"
fi
echo "$found"
