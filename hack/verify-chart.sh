#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# verify-chart.sh KUSTOMIZE: fails if Helm finds fault with the chart, if it renders other objects
# than config/ has, or if its schema accepts values that mean nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kustomize=$1
helm=$(hack/helm.sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HELM_CACHE_HOME=$work/cache HELM_CONFIG_HOME=$work/config HELM_DATA_HOME=$work/data

template() { "$helm" template fairlead charts/fairlead --namespace fairlead-system --include-crds "$@"; }

# same CONFIG VALUES...: compares with what kustomize builds of config/CONFIG.
same() {
  "$kustomize" build "config/$1" >"$work/want.yaml"
  template "${@:2}" | go run ./hack/chart -equal "$work/want.yaml"
}

# refused TEXT VALUES...: the schema's error must have the text.
refused() {
  local text=$1 out
  shift
  if out=$(template "$@" 2>&1); then
    echo "verify: the chart accepts $*" >&2
    return 1
  fi
  grep -q -- "$text" <<<"$out" || { printf 'verify: the error of %s does not have "%s":\n%s\n' "$*" "$text" "$out" >&2; return 1; }
}

# has TEXT VALUES...: a line that the chart must render.
has() {
  local out
  out=$(template "${@:2}")
  grep -qxF -- "$1" <<<"$out" || { echo "verify: the chart with ${*:2} does not render $1" >&2; return 1; }
}

"$helm" lint --strict --quiet charts/fairlead
same default
same single-node --set controller.replicas=1
refused replica --set controller.replica=1
refused digest --set agent.image.digest=latest
refused pullPolicy --set agent.image.pullPolicy=Often
digest=sha256:$(printf '0%.0s' {1..64})
has "        image: example.com/agent@$digest" --set "agent.image.repository=example.com/agent,agent.image.digest=$digest"
has "        image: fairlead-controller:v9" --set controller.image.tag=v9
has "        - name: registry" --set 'imagePullSecrets[0].name=registry'
has "  mode: IPVS" --set proxyConfig.create=true,proxyConfig.spec.mode=IPVS
has "  namespace: elsewhere" --namespace elsewhere
has "    release: prometheus" --set prometheusRule.create=true,prometheusRule.labels.release=prometheus
has "    - alert: FairleadNotProgrammed" --set prometheusRule.create=true
out=$(template --namespace elsewhere)
if grep -n fairlead-system <<<"$out"; then
  echo "verify: the chart renders the namespace fairlead-system for a release in another one" >&2
  exit 1
fi
