#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# The demo: starts the lab, installs Fairlead as a user would, and walks through
# Services on it; every step is checked. The lab is stopped at the end, also after
# Ctrl-C; KEEP=1 leaves it running, with the objects of the demo. A running lab is
# used and left running.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly LAB=bin/lab
here=test/demo
source $here/lib.sh
source $here/story.sh
source $here/takeover.sh

scratch=$(mktemp -d)
export KUBECACHEDIR=$scratch/kubectl
background=()
cleanup() {
  # Run once, and not interrupted by signals.
  trap - EXIT
  trap '' INT TERM HUP
  local pid
  for pid in "${background[@]}"; do kill "$pid" 2>/dev/null; done
  rm -rf "$scratch"
  if [[ -n ${started:-} && -z ${KEEP:-} ]]; then
    local keep=()
    ((failed == 0)) || keep=(--keep-logs bin/demo-logs)
    "$LAB" down "${keep[@]}" || failed=$((failed + 1))
    ((failed == 0)) || echo "The logs of the lab are in bin/demo-logs." >&2
  fi
}
trap cleanup EXIT
stop() { cleanup; echo "demo: interrupted" >&2; exit "$1"; }
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

KUBEBUILDER_ASSETS=$(hack/controlplane.sh) || exit 1
export KUBEBUILDER_ASSETS PATH=$KUBEBUILDER_ASSETS:$PATH

title "A cluster on this machine: etcd, apiserver, controller-manager, scheduler, three nodes"
if ! status=$("$LAB" status 2>&1); then
  # A lab that is starting belongs to another process.
  [[ $status == *"no lab is running"* ]] || { echo "$status" >&2; exit 1; }
  started=yes
  "$LAB" up --bin bin || { failed=1; exit 1; }
else
  echo "Using the running lab; it is left running."
fi
KUBECONFIG=$("$LAB" kubeconfig) || exit 1
export KUBECONFIG

story
cleanup
[[ -z ${KEEP:-} ]] || echo "The lab is still running: stop it with \`make lab-down\`."
echo
echo "demo: $passed passed, $failed failed"
((failed == 0))
