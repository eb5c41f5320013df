#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Prints the path of helm, which it builds into the cache once. Its name has the version, so a
# fresh clone does not build it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/helm"
cache=${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}
helm=$cache/helm-$(sed -n 's|.*helm.sh/helm/v4 \(v[^ ]*\).*|\1|p' go.mod)
if [[ ! -x $helm ]]; then
  echo "building helm: this takes some minutes, once" >&2
  mkdir -p "$cache"
  CGO_ENABLED=0 go build -trimpath -o "$helm" helm.sh/helm/v4/cmd/helm >&2
fi
echo "$helm"
