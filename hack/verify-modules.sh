#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Fails if a go.mod or go.sum is not tidy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=0
while read -r mod; do
  dir=$(dirname "$mod")
  # Not every module proxy has OLM's module: without it the check is impossible.
  if [[ $dir == test/bundle ]] && ! (cd "$dir" && go mod download >/dev/null 2>&1); then
    echo "verify: $dir is not checked: its modules cannot be downloaded" >&2
    continue
  fi
  (cd "$dir" && go mod tidy -diff >/dev/null) || { echo "verify: run 'go mod tidy' in $dir" >&2; failed=1; }
done < <(git ls-files '*go.mod')
exit $failed
