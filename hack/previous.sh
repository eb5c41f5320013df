#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# previous.sh: builds the previous release, test/upgrade/previous, from its own files in bin/previous: manifests, which
# `kubectl apply -k bin/previous` installs, and the images that they name, in bin/lab-images. The lab's registry knows no
# tags, so these images have other names than those of this release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
commit=$(grep -v '^#' test/upgrade/previous)
out=$PWD/bin/previous images=$PWD/bin/lab-images

if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
  echo "previous: this repository does not have $commit, the previous release (test/upgrade/previous). In a shallow clone:" >&2
  echo "  git fetch --depth 1 origin $commit    # or: git fetch --unshallow" >&2
  exit 1
fi
rm -rf "$out"
mkdir -p "$out" "$images"
git archive "$commit" | tar -x -C "$out"
# The folder is in a checkout of another commit.
export GOFLAGS=-buildvcs=false
make -C "$out" build VERSION=0.0.0-previous
(cd "$out/hack/images" && go run . lab "$out/bin/images" fairlead-controller fairlead-agent)
for name in fairlead-controller fairlead-agent; do
  rm -rf "${images:?}/$name-previous"
  mv "$out/bin/images/$name" "$images/$name-previous"
done
cat >"$out/kustomization.yaml" <<END
resources: [config/default]
images:
- {name: fairlead-controller, newName: fairlead-controller-previous}
- {name: fairlead-agent, newName: fairlead-agent-previous}
END
echo "built $commit, the previous release"
