// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agentfiles says what the agent's image has of Debian: the programs of both
// variants of iptables, what they load, and the licences. No shell, no package manager.
package agentfiles

import (
	"regexp"

	"github.com/fairlead-proxy/fairlead/hack/images/choose"
	"github.com/fairlead-proxy/fairlead/hack/images/debian"
	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// Packages are the Debian packages that have the files.
var Packages = []string{
	"base-files", // the texts of licences, and the name of the release
	"iptables", "libc6", "libip4tc2", "libip6tc2", "libmnl0", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11", "libxtables12",
}

// Programs are those that the mode IPTables starts, and the ones with which people look at a
// node's rules.
const programs = `^usr/sbin/ip6?tables-(nft|legacy)(-save|-restore)?$`

// All extensions are needed, also those for rules that Fairlead does not write: the program
// that lists a table fails at a rule whose extension it cannot load.
const extensions = `^usr/lib/[^/]+/xtables/lib(xt|ipt|ip6t)_[^/]+\.so$`

var wanted = regexp.MustCompile(programs + "|" + extensions + `|^(etc|usr/lib)/os-release$`)

// Choose returns the files of the agent's image.
func Choose(packages []*debian.Contents) (rootfs.Tree, error) {
	return choose.Files(packages, wanted.MatchString)
}
