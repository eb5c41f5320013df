// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// listLength is the parameter of the kernel module xt_recent for the number of clients in
// a list, by default 100. It cannot be changed while the module is loaded. When a list is
// full, the oldest client is dropped from it.
const listLength = "/sys/module/xt_recent/parameters/ip_list_tot"

// enoughClients is the number of clients of an endpoint from which the limit is not
// reported.
const enoughClients = 10_000

// reasonAffinity: the kernel remembers fewer clients than there may be.
const reasonAffinity dataplane.Reason = "AffinityClients"

var tooManyEndpoints = fmt.Sprintf("new connections use only some of the endpoints: endpoints x ports of a Service are more than %d, "+
	"which iptables would write too slowly; each node uses others. Use several Services, or the mode NFTables", maxEndpoints)

// reasonReadBack: external changes of our rules are not found.
const reasonReadBack dataplane.Reason = "ReadBack"

// report adds to a result what is not programmed, and when to try it again.
func (d *Dataplane) report(result dataplane.Result) dataplane.Result {
	d.leftOut.Node(dataplane.ReasonLocalhost, d.localhost.Err())
	d.leftOut.Node(reasonAffinity, d.affinityLimit())
	d.leftOut.Clear(dataplane.ReasonEndpoints)
	for _, f := range d.families {
		for id := range f.want.reduced {
			for key := range f.want.ports[id] {
				d.leftOut.Add(dataplane.ReasonEndpoints, tooManyEndpoints, key, id.service)
			}
		}
	}
	d.leftOut.Node(reasonReadBack, d.unreadable)
	result.Unsupported = d.leftOut.Limitations()
	if d.noIPv6 != nil && !errors.Is(d.noIPv6, dataplane.ErrUnsupported) {
		result.NextLook = max(1, d.ipv6.Wait(d.clock.Now()))
	}
	return result
}

// affinityLimit returns an error with the number of clients that the kernel remembers, if
// that may be too few.
func (d *Dataplane) affinityLimit() error {
	sticky := false
	for _, f := range d.families {
		sticky = sticky || f.want.affine > 0
	}
	if !sticky {
		return nil
	}
	text, err := os.ReadFile(d.listLength)
	if err != nil {
		return fmt.Errorf("session affinity is limited by the module xt_recent; the limit is not known: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("session affinity is limited by the module xt_recent: read %s: %w", d.listLength, err)
	}
	if n >= enoughClients {
		return nil
	}
	return fmt.Errorf("session affinity is limited to %d clients of each endpoint: load the module xt_recent with ip_list_tot=%d or more", n, enoughClients)
}
