#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# undeploy.sh FLAGS...: removes Fairlead from the cluster of the current kubeconfig; FLAGS
# are those of kubectl delete. The ProxyConfigs go first, because nodes with the
# deletionPolicy Cleanup are cleaned up while controller and agents still run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kubectl=${KUBECTL:-kubectl}
# Seconds; the controller waits two minutes for an agent.
readonly patience=150

installed() { [[ -n $($kubectl get --ignore-not-found crd "$1.proxy.fairlead.dev" -o name) ]]; }
# The agents' reports count: without the rules, a controller that reaches the apiserver by
# its Service cannot delete the NodeRuleSets any more.
waiting() {
  $kubectl get noderulesets --no-headers --ignore-not-found \
    -o custom-columns='N:.metadata.name,P:.spec.deletionPolicy,R:.status.conditions[?(@.type=="Programmed")].reason' |
    awk '$2 == "Cleanup" && $3 != "CleanedUp" { print $1 }'
}
silent() { $kubectl get events -n default --field-selector reason=NotCleanedUp -o jsonpath='{range .items[*]}{.involvedObject.name}{"\n"}{end}'; }

if installed proxyconfigs && installed noderulesets; then
  # Those of an earlier removal.
  $kubectl delete events -n default --field-selector reason=NotCleanedUp >/dev/null
  $kubectl delete proxyconfigs --all
  deadline=$((SECONDS + patience))
  nodes=$(waiting)
  [[ -z $nodes ]] || echo "Waiting for the agents to clean up $(wc -l <<<"$nodes") nodes ..."
  while [[ -n $nodes ]] && ((SECONDS < deadline)); do
    sleep 1
    nodes=$(waiting)
  done
  left=$({ silent; [[ -z $nodes ]] || echo "$nodes"; } | sort -u)
  if [[ -n $left ]]; then
    echo "Not cleaned up: run \`fairlead-agent --cleanup\` on these nodes, or reboot them:"
    sed 's/^/  /' <<<"$left"
  fi
fi
$kubectl delete "$@" -k config/default
