// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// lacks is what this mode cannot do of what was asked for.
type lacks struct {
	sctp    map[model.FrontendKey]struct{}
	sources map[model.FrontendKey]struct{} // frontends that should keep their clients' addresses
	unbound map[model.FrontendKey]error    // frontends without a socket that they should have
	broken  int                            // sockets that others have ended
}

func newLacks() lacks {
	return lacks{sctp: map[model.FrontendKey]struct{}{}, sources: map[model.FrontendKey]struct{}{}, unbound: map[model.FrontendKey]error{}}
}

// note notes what a frontend asks for that cannot be had. That the endpoints of a
// cluster IP do not see the Pod that asks is not told: nobody has asked for it. Who
// sets the external traffic policy Local has.
func (l *lacks) note(f *model.Frontend) {
	l.forget(f.Key)
	switch {
	case f.Key.Protocol == model.SCTP:
		l.sctp[f.Key] = struct{}{}
	case f.Kind != model.KindClusterIP && f.External.Verdict == model.Forward && f.External.Masquerade == model.MasqueradeNever:
		l.sources[f.Key] = struct{}{}
	}
}

func (l *lacks) forget(key model.FrontendKey) {
	delete(l.sctp, key)
	delete(l.sources, key)
	delete(l.unbound, key)
}

// lacking says what is not in force. Of each kind it names one.
func (d *Dataplane) lacking() error {
	d.mu.Lock()
	d.unbound = len(d.lacks.unbound) > 0
	d.mu.Unlock()
	errs := []error{d.proxy.open.full()}
	if n := len(d.lacks.unbound); n > 0 {
		key := first(maps.Keys(d.lacks.unbound))
		errs = append(errs, fmt.Errorf("%d frontends have no socket, such as %s: %w", n, key, d.lacks.unbound[key]))
	}
	if n := len(d.lacks.sctp); n > 0 {
		errs = append(errs, fmt.Errorf("%d frontends of SCTP, such as %s, for this mode has TCP and UDP only", n, first(maps.Keys(d.lacks.sctp))))
	}
	if n := len(d.lacks.sources); n > 0 {
		errs = append(errs, fmt.Errorf("endpoints see the node's address and not the client's at %d frontends with policy Local, such as %s, for this mode opens the connections to endpoints itself",
			n, first(maps.Keys(d.lacks.sources))))
	}
	return errors.Join(errs...)
}

// first returns the key to name.
func first(keys iter.Seq[model.FrontendKey]) model.FrontendKey {
	return slices.MinFunc(slices.Collect(keys), model.FrontendKey.Compare)
}

func sorted(addresses iter.Seq[netip.Addr]) []netip.Addr {
	return slices.SortedFunc(addresses, netip.Addr.Compare)
}
