// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package choose

import (
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/hack/images/debian"
	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// merged are the directories that Debian merges into those of /usr.
var merged = []string{"bin", "lib", "lib64", "sbin"}

// MergeUsr returns the packages with their files in /usr, as an installed Debian has them:
// the packages themselves still have some in /bin. Links adds the links.
func MergeUsr(packages []*debian.Contents) []*debian.Contents {
	var out []*debian.Contents
	for _, p := range packages {
		moved := *p
		moved.Files = rootfs.Tree{}
		for name, f := range p.Files {
			if top, _, _ := strings.Cut(name, "/"); slices.Contains(merged, top) {
				name = "usr/" + name
			}
			moved.Files[name] = f
		}
		out = append(out, &moved)
	}
	return out
}

// Links adds the links to the directories in /usr, such as /bin.
func Links(tree rootfs.Tree) {
	for _, dir := range merged {
		for name := range tree {
			if strings.HasPrefix(name, "usr/"+dir+"/") {
				tree[dir] = rootfs.File{Link: "usr/" + dir}
				break
			}
		}
	}
}
