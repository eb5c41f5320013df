#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# fuzz.sh TIME: runs every fuzz target for TIME. An input that fails is kept in
# the package's testdata/fuzz.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do
  sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' "$file" | while read -r target; do
    echo "== $target"
    # Minimizing new inputs would take most of the time.
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 1s "./$(dirname "$file")" </dev/null
  done
done
