#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# build-installer.sh KUSTOMIZE CONTROLLER-IMAGE AGENT-IMAGE CONFIG: writes all manifests
# of config/CONFIG into dist/install.yaml. It builds a copy of the tree, so that config/ does not
# change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kustomize=$1 controller=$2 agent=$3 config=$4

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r config "$copy"
(cd "$copy/config/manager" && "$kustomize" edit set image "fairlead-controller=$controller")
(cd "$copy/config/agent" && "$kustomize" edit set image "fairlead-agent=$agent")
mkdir -p dist
"$kustomize" build "$copy/config/$config" >dist/install.yaml
echo "wrote dist/install.yaml"
