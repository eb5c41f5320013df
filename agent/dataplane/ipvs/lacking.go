// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules"
)

// minAffinity is the shortest affinity in seconds that the kernel keeps: it does
// not forget a client while one of its connections is in the state TIME_WAIT,
// which lasts as long, see ip_vs_proto_tcp.c.
const minAffinity = 120

// noteClamped notes the affinity of a frontend (nil: gone) if it is shorter.
func (d *Dataplane) noteClamped(key rules.FrontendKey, f *rules.Frontend) {
	if f != nil && f.AffinityTimeoutSeconds > 0 && f.AffinityTimeoutSeconds < minAffinity {
		d.clamped[key] = f.AffinityTimeoutSeconds
	} else {
		delete(d.clamped, key)
	}
}

// lacking says what IPVS does not do of what was asked for. Of each kind it names
// one.
func (d *Dataplane) lacking(node rules.NodeSettings) error {
	var errs []error
	if node.NodePortLocalhost {
		errs = append(errs, errors.New("IPVS has no node ports on localhost"))
	}
	if n := len(d.clamped); n > 0 {
		key := slices.MinFunc(slices.Collect(maps.Keys(d.clamped)), rules.FrontendKey.Compare)
		errs = append(errs, fmt.Errorf("session affinity of %s (%d such frontends): %d seconds are clamped to %d, which is the least that IPVS can keep",
			key, n, d.clamped[key], minAffinity))
	}
	if n := len(d.servers.refused); n > 0 {
		key := slices.MinFunc(slices.Collect(maps.Keys(d.servers.refused)), serverKey.compare)
		errs = append(errs, fmt.Errorf("%d virtual servers lack endpoints that the kernel refuses: %w", n, d.servers.refused[key]))
	}
	return errors.Join(errs...)
}
