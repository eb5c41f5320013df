// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package modes has the list of all modes of this build.
package modes

import (
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/iptables"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/ipvs"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nftables"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/userspace"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
)

// shared is what modes of one node have in common.
type shared struct {
	localhost routelocalnet.Owner
}

// list is all that has to be changed here for a mode that is added.
var list = []func(*shared) dataplane.Mode{
	func(s *shared) dataplane.Mode { return nftables.Mode(&s.localhost) },
	func(*shared) dataplane.Mode { return ipvs.Mode() },
	func(s *shared) dataplane.Mode { return iptables.Mode(&s.localhost) },
	func(*shared) dataplane.Mode { return userspace.Mode() },
}

// All returns the modes of a node.
func All() []dataplane.Mode {
	var s shared
	out := make([]dataplane.Mode, 0, len(list))
	for _, make := range list {
		out = append(out, make(&s))
	}
	return out
}
