#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# build-installer.sh KUSTOMIZE CONTROLLER-IMAGE AGENT-IMAGE CONFIG [DIRECTORY]: writes all
# manifests of config/CONFIG into install.yaml in DIRECTORY (default: dist). It builds a copy of
# the tree, so that config/ does not change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kustomize=$1 controller=$2 agent=$3 config=$4 out=${5:-dist}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r config "$copy"
(cd "$copy/config/manager" && "$kustomize" edit set image "fairlead-controller=$controller")
(cd "$copy/config/agent" && "$kustomize" edit set image "fairlead-agent=$agent")
mkdir -p "$out"
"$kustomize" build "$copy/config/$config" >"$out/install.yaml"
echo "wrote $out/install.yaml"
