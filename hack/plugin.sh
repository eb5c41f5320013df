#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# plugin.sh VERSION DIRECTORY: builds the plugin of kubectl for each platform (PLUGIN_PLATFORMS), packs each into an
# archive with the licence, and writes the manifest with which krew installs it, fairlead.yaml. The same commit
# and the same version of Go give the same archives.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$1 out=$(mkdir -p "$2" && cd "$2" && pwd)
repository=https://github.com/fairlead-proxy/fairlead

content=$(mktemp -d)
trap 'rm -rf "$content"' EXIT
cp LICENSE "$content"
rm -f "$out"/kubectl-fairlead_*.tar.gz
cat >"$out/fairlead.yaml" <<END
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: fairlead
spec:
  version: $version
  homepage: $repository
  shortDescription: See and steer the service proxy Fairlead
  description: |
    Shows which endpoint a connection to a Service gets and why, what the kernels of nodes have, how a changed
    policy reaches the nodes, and what is wrong with an installation of Fairlead, a service proxy that
    replaces kube-proxy. It reads the API with your rights; nothing has to be installed in the cluster for it.
  platforms:
END
for platform in ${PLUGIN_PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}; do
  os=${platform%/*} arch=${platform#*/}
  archive=kubectl-fairlead_${version}_${os}_$arch.tar.gz
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/fairlead-proxy/fairlead/version.Version=$version" -o "$content/kubectl-fairlead" ./cmd/kubectl-fairlead
  tar -C "$content" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -c LICENSE kubectl-fairlead |
    gzip -n >"$out/$archive"
  cat >>"$out/fairlead.yaml" <<END
  - selector:
      matchLabels:
        os: $os
        arch: $arch
    uri: $repository/releases/download/$version/$archive
    sha256: $(sha256sum "$out/$archive" | cut -d' ' -f1)
    bin: kubectl-fairlead
    files:
    - from: kubectl-fairlead
      to: .
    - from: LICENSE
      to: .
END
done
