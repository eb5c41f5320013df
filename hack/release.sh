#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# release.sh KUSTOMIZE CONFIG VERSION CONTROLLER-IMAGE AGENT-IMAGE BUNDLE-IMAGE DIRECTORY: writes what a
# version consists of: the images, all manifests with the images' digests, the plugin of kubectl with its manifest for krew, and checksums. With
# SIGNING_KEY, a PEM file with an ECDSA key (P-256, not encrypted), images and checksums are signed.
set -euo pipefail
if [[ -n ${SIGNING_KEY:-} ]]; then
  SIGNING_KEY=$(realpath -- "$SIGNING_KEY") || { echo "SIGNING_KEY: no such file" >&2; exit 1; }
  export SIGNING_KEY
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kustomize=$1 config=$2 version=$3 controller=$4 agent=$5 bundle=$6 out=$7

mkdir -p "$out"
out=$(cd "$out" && pwd)
(cd hack/images && go run . -version "$version" build "$out/images" \
  "controller=$controller" "agent=$agent" "bundle=$bundle") >"$out/images.txt"
mapfile -t images <"$out/images.txt"
hack/build-installer.sh "$kustomize" "${images[0]}" "${images[1]}" "$config" "$out"
hack/plugin.sh "$version" "$out"

cd "$out"
sha256sum images.txt install.yaml fairlead.yaml kubectl-fairlead_*.tar.gz >SHA256SUMS
rm -f SHA256SUMS.sig
if [[ -n ${SIGNING_KEY:-} ]]; then
  openssl dgst -sha256 -sign "$SIGNING_KEY" SHA256SUMS | base64 -w0 >SHA256SUMS.sig
fi
echo "wrote $out"
