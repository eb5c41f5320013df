#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# The demo: starts the lab, installs Fairlead as a user would, and plays the
# story of Services on it, checked at every step. The lab is stopped at the end,
# also after Ctrl-C; KEEP=1 leaves it running. A lab that runs already is used,
# and left running.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly LAB=bin/lab
here=test/demo
source $here/lib.sh
source $here/story.sh

background=()
cleanup() {
  trap - EXIT INT TERM
  local pid
  for pid in "${background[@]}"; do kill "$pid" 2>/dev/null; done
  if [[ -n ${started:-} && -z ${KEEP:-} ]]; then
    echo
    "$LAB" down || failed=$((failed + 1))
  fi
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT
trap 'cleanup; exit 143' TERM

KUBEBUILDER_ASSETS=$(hack/controlplane.sh) || exit 1
export KUBEBUILDER_ASSETS PATH=$KUBEBUILDER_ASSETS:$PATH

title "A cluster on this machine: etcd, apiserver, controller-manager, scheduler, three nodes"
if ! "$LAB" status >/dev/null 2>&1; then
  started=yes
  "$LAB" up --bin bin || exit 1
fi
KUBECONFIG=$("$LAB" kubeconfig) || exit 1
export KUBECONFIG

story
cleanup
echo
echo "demo: $passed passed, $failed failed"
((failed == 0))
