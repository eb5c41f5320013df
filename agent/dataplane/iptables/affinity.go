// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Clients stick to an endpoint by the match recent: the kernel keeps a list of
// clients for each endpoint of a Service's port. The first rules of a chain lead who
// is in a list to its endpoint, and renew the entry; the others put who is in none
// into that of the endpoint that chance has given him.
//
// All frontends of a port use the same lists, so its node port leads a client to
// the same endpoint as its cluster IP. A list lives as long as a rule names it, also
// while its chain is rewritten; that of an endpoint that is gone is gone with it,
// and its clients are led elsewhere. A chain names the lists of its own endpoints
// only: who knows one that a policy Local excludes here gets another.

// known returns the text of a match that takes who is in the list of an endpoint.
func known(f *model.Frontend, e model.Endpoint) string {
	return fmt.Sprintf("-m recent --update --seconds %d --reap %s", f.AffinityTimeoutSeconds, list(f, e))
}

// remember returns the text of a match that puts a client there.
func remember(f *model.Frontend, e model.Endpoint) string { return "-m recent --set " + list(f, e) }

// list names the list of an endpoint. The name is that of a file too.
func list(f *model.Frontend, e model.Endpoint) string {
	k := f.Home()
	mask := "255.255.255.255"
	if e.Addr().Is6() {
		mask = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	}
	return fmt.Sprintf("--name %s%s-%d-%s-%s-%d --mask %s --rsource ",
		listPrefix, k.Address, k.Port, k.Protocol, e.Addr(), e.Port(), mask)
}

const listPrefix = "fairlead-"
