#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# verify-clean.sh COMMAND PATH...: fails if files that COMMAND has just written differ
# from the committed ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command=$1
shift
if [[ -n $(git status --porcelain -- "$@") ]]; then
  git status --short -- "$@"
  git --no-pager diff -- "$@" | head -n 60
  echo "verify: run '$command' and commit what it writes" >&2
  exit 1
fi
