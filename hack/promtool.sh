#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Prints the path of promtool, which it builds into the cache once, without the service discoveries.
# Its name has the version, so a fresh clone does not build it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/promtool"
cache=${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}
promtool=$cache/promtool-$(sed -n 's|.*github.com/prometheus/prometheus \(v[^ ]*\).*|\1|p' go.mod)
if [[ ! -x $promtool ]]; then
  echo "building promtool: this takes some minutes, once" >&2
  mkdir -p "$cache"
  CGO_ENABLED=0 go build -trimpath -tags remove_all_sd -o "$promtool" github.com/prometheus/prometheus/cmd/promtool >&2
fi
echo "$promtool"
