// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The kernel does not forget a client while it knows a connection of his: TCP
// connections for 120 seconds after their end (TIME_WAIT in ip_vs_proto_tcp.c),
// UDP flows until they have been idle for a time that can be set.
const (
	tcpRemembered = 120
	udpRemembered = 300 // by default
)

// minAffinity is the shortest affinity in seconds that a client can have.
func minAffinity(p model.Protocol, timeouts Timeouts) int32 {
	if p == model.UDP {
		return cmp.Or(timeouts.UDP, udpRemembered)
	}
	return tcpRemembered
}

// Why something is not programmed, or not as it is desired.
const (
	reasonAffinity dataplane.Reason = "AffinityTimeout"
	reasonRejected dataplane.Reason = "RealServer"
)

// noteClamped notes whether the affinity of a frontend (nil: gone) is shorter.
func (d *Dataplane) noteClamped(key model.FrontendKey, f *model.Frontend) {
	least := minAffinity(key.Protocol, d.settings.Timeouts)
	if f != nil && f.AffinityTimeoutSeconds > 0 && f.AffinityTimeoutSeconds < least {
		d.leftOut.Add(reasonAffinity, fmt.Sprintf("session affinity: %d seconds are clamped to %d, the least that IPVS can keep",
			f.AffinityTimeoutSeconds, least), key, f.Service)
	} else {
		d.leftOut.Remove(reasonAffinity, key)
	}
}

// noteIPv6 notes a frontend (nil: gone) of IPv6 if the node has none.
func (d *Dataplane) noteIPv6(key model.FrontendKey, f *model.Frontend) {
	if !d.settings.excluded(key.Address) {
		d.leftOut.NoIPv6(d.noIPv6, key, f)
	}
}

// limitations returns what IPVS does not do of what was asked for.
func (d *Dataplane) limitations() []dataplane.Limitation {
	var localhost error
	if d.desired.Node.NodePortLocalhost {
		localhost = errors.New("IPVS has no node ports on localhost")
	}
	d.leftOut.Node(dataplane.ReasonLocalhost, localhost)
	d.leftOut.Clear(reasonRejected)
	d.leftOut.Node(reasonRejected, nil)
	for _, key := range slices.SortedFunc(maps.Keys(d.servers.refused), serverKey.compare) {
		message := "kernel rejected real servers: " + d.servers.refused[key].Error()
		if f := d.frontendOf(key); f != nil {
			d.leftOut.Add(reasonRejected, message, f.Key, f.Service)
		}
	}
	if len(d.servers.refused) > 0 && d.leftOut.Count(reasonRejected) == 0 { // only of firewall marks
		for key, err := range d.servers.refused {
			d.leftOut.Node(reasonRejected, fmt.Errorf("kernel rejected real servers of %s: %w", key, err))
		}
	}
	return d.leftOut.Limitations()
}

// frontendOf returns the frontend that a virtual server is for, nil for one with a
// firewall mark.
func (d *Dataplane) frontendOf(key serverKey) *model.Frontend {
	if key.mark != 0 {
		return nil
	}
	if f := d.desired.Frontends[key.FrontendKey]; f != nil {
		return f
	}
	return d.desired.Frontends[key.FrontendKey.NodePort()]
}
