#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Runs the tests that need a kernel with ip_vs, each in its own VM unless this machine
# has such a kernel (see hack/vm). Two at a time: a VM idles half of its time. What hands connections over
# has the machine for itself: a connection has 0.9 s there, which is little in an emulator.
# $FAIRLEAD_AGENT is the path of the agent, if it is built. With an argument, only the
# tests run whose line below contains that text.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The directory of a package, and arguments of go test. The longest first.
tests=(
  "agent/dataplane/nftables"
  "agent/dataplane/nattable"
  "test/cases -run=^TestIPVS$"
  "test/cases -run=^TestNFTables$"
  "test/lab/node -run=^TestDelegate$"
  "agent/dataplane/ipvs"
  "agent/inspect -run=^(TestEachConnection|TestAnswers|TestShares|TestObservedChanges)$/IPVS"
  "agent/modes -run=^TestHandovers$"
  "agent/modes -run=^(TestHandovers|TestRestarts)$/IPVS"
)
readonly at_once=2 alone="agent/modes "
if (($#)); then
  mapfile -t tests < <(printf '%s\n' "${tests[@]}" | grep -iF -- "$1")
  ((${#tests[@]})) || { echo "test-vm: no tests have \"$1\"" >&2; exit 2; }
fi

logs=$(mktemp -d)
running=()
set -m # a process group for each job
finish() {
  local job
  for job in "${running[@]}"; do kill -- "-$job" 2>/dev/null || true; done
  wait
  rm -rf "$logs"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# run NUMBER: writes the output and the exit status to files.
run() {
  local words began=$SECONDS status=0 vm=$PWD/hack/vm
  read -ra words <<<"${tests[$1]}"
  cd "${words[0]}"
  "$vm" -timeout 30m go test -count=1 -timeout 25m "${words[@]:1}" || status=$?
  echo "==== ${tests[$1]}: exit status $status after $((SECONDS - began)) s"
  echo "$status" >"$logs/$1.status"
}

hack/vm true # install dependencies before two VMs need them
for i in "${!tests[@]}"; do
  if [[ ${tests[i]} == "$alone"* ]]; then
    wait || true
  else
    ((i < at_once)) || wait -n || true
  fi
  run "$i" >"$logs/$i" 2>&1 &
  running+=($!)
done
failed=0
for i in "${!tests[@]}"; do
  wait "${running[i]}" 2>/dev/null || true # perhaps it was waited for before
  cat "$logs/$i"
  [[ $(cat "$logs/$i.status") == 0 ]] || failed=1
done
tail -qn 1 "$logs"/*[0-9] # the results of all, after their output
exit $failed
