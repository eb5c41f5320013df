// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

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
func minAffinity(p model.Protocol, timeouts model.IPVSTimeouts) int32 {
	if p == model.UDP {
		return cmp.Or(timeouts.UDP, udpRemembered)
	}
	return tcpRemembered
}

// noteClamped notes the affinity of a frontend (nil: gone) if it is shorter.
func (d *Dataplane) noteClamped(key model.FrontendKey, f *model.Frontend, settings model.IPVSSettings) {
	if f != nil && f.AffinityTimeoutSeconds > 0 && f.AffinityTimeoutSeconds < minAffinity(key.Protocol, settings.Timeouts) {
		d.clamped[key] = f.AffinityTimeoutSeconds
	} else {
		delete(d.clamped, key)
	}
}

// lacking says what IPVS does not do of what was asked for. Of each kind it names
// one.
func (d *Dataplane) lacking(node model.NodeSettings) error {
	var errs []error
	if node.NodePortLocalhost {
		errs = append(errs, errors.New("IPVS has no node ports on localhost"))
	}
	if n := len(d.clamped); n > 0 {
		key := slices.MinFunc(slices.Collect(maps.Keys(d.clamped)), model.FrontendKey.Compare)
		errs = append(errs, fmt.Errorf("session affinity of %s (%d such frontends): %d seconds are clamped to %d, the least that IPVS can keep",
			key, n, d.clamped[key], minAffinity(key.Protocol, node.IPVS.Timeouts)))
	}
	if n := len(d.servers.refused); n > 0 {
		key := slices.MinFunc(slices.Collect(maps.Keys(d.servers.refused)), serverKey.compare)
		errs = append(errs, fmt.Errorf("%d virtual servers lack endpoints that the kernel refuses: %w", n, d.servers.refused[key]))
	}
	return errors.Join(errs...)
}
