// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Session affinity uses the match recent: the kernel keeps a list of clients for each
// endpoint of a Service's port. The first rules of a chain send clients in a list to its
// endpoint, and renew the entry. The other rules add new clients to the list of a random
// endpoint.
//
// All frontends of a port use the same lists, so its node port sends a client to the same
// endpoint as its cluster IP. A list exists as long as a rule names it, also while its
// chain is rewritten. The list of a removed endpoint is removed with it, and its clients
// get another endpoint. A chain names the lists of its own endpoints only: a client with
// an endpoint that a policy Local excludes here gets another.

// known returns a match for clients in the list of an endpoint.
func known(f *model.Frontend, e model.Endpoint) string {
	return fmt.Sprintf("-m recent --update --seconds %d --reap %s", f.AffinityTimeoutSeconds, list(f, e))
}

// remember returns a match that adds a client to that list.
func remember(f *model.Frontend, e model.Endpoint) string { return "-m recent --set " + list(f, e) }

// list returns the options that name the list of an endpoint. The name is also a file
// name.
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
