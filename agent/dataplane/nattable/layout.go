// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// view is one of the two backends of a frontend.
type view = model.View

const (
	internal = model.InternalView
	external = model.ExternalView
	views    = model.Views
)

// where says whether a frontend is an address with a port, or a node port.
type where int

const (
	onAddress where = iota
	onNodePort
	wheres
)

// whereOf returns which of the two a key is.
func whereOf(k model.FrontendKey) where {
	if k.IsNodePort() {
		return onNodePort
	}
	return onAddress
}

// family encodes keys and rules for the table of one family.
type family struct{ *nft.Table }

// layout is the table of one family: everything that does not depend on the Services.
type layout struct {
	family
	target target

	// verdicts are the maps from frontends to verdicts, unless the target has others.
	verdicts [wheres][views]*nft.Set

	clusterIPs *nft.Set
	nodePorts  *nft.Set // the addresses that node ports answer on
	hairpin    *nft.Set

	// Frontends in restricted accept only sources in one of the sets sources, by the
	// length of a range. Those sets are added as needed. Node ports in restricted accept
	// only those in a chain, see nodePortSources.
	restricted *nft.Set
	sources    map[int]*nft.Set

	sets   []*nft.Set
	chains []*nft.Chain // the constant ones, except those that depend on NodeSettings
}

// newLayout describes the table of a family. A dormant table never sees a packet.
func newLayout(protocol byte, name string, target Target, dormant bool) *layout {
	l := &layout{family: family{nft.NewTable(protocol, name, target.comment, dormant)}, sources: map[int]*nft.Set{}}
	for at, name := range [wheres]string{onAddress: "services", onNodePort: "nodeports"} {
		for v, suffix := range viewSuffixes {
			l.verdicts[at][v] = l.addSet(nft.SetSpec{Name: name + suffix, Key: l.keyFields(), Verdicts: true})
		}
	}
	l.clusterIPs = l.addSet(nft.SetSpec{Name: "cluster-ips", Key: []nft.Field{l.DestinationField()}})
	l.nodePorts = l.addSet(nft.SetSpec{Name: "nodeport-addresses", Key: []nft.Field{l.DestinationField()}})
	l.hairpin = l.addSet(nft.SetSpec{Name: "hairpin", Key: []nft.Field{l.DestinationField(), l.DestinationField()}})
	l.restricted = l.addSet(nft.SetSpec{Name: "restricted", Key: l.keyFields()})
	l.target = target.on(l)
	l.chains = append(l.constantChains(), l.target.chains()...)
	return l
}

var viewSuffixes = [views]string{internal: "", external: "-external"}

// addSet adds a set to the layout.
func (l *layout) addSet(spec nft.SetSpec) *nft.Set {
	s := l.NewSet(spec)
	l.sets = append(l.sets, s)
	return s
}

// keyFields is the key of a frontend.
func (l family) keyFields() []nft.Field {
	return []nft.Field{nft.ProtocolField(), l.DestinationField(), nft.PortField()}
}

// key loads the key of the frontend that a packet is for into the registers from reg on.
func (l family) key(at where, reg int) []nft.Expr {
	out := []nft.Expr{nft.Protocol(reg), l.Destination(reg + 1)}
	if at == onNodePort {
		out = append(out, nft.Mask(reg+1, make([]byte, l.AddrLen())))
	}
	return append(out, nft.DestinationPort(reg+1+l.Words()))
}

// keyWords is the number of registers of a key.
func (l family) keyWords() int { return 2 + l.Words() }

// ours says whether an address belongs to the table's family.
func (l family) ours(a netip.Addr) bool { return a.Is4() != l.V6() && !a.Is4In6() }

func (l family) rule(comment string, exprs ...[]nft.Expr) nft.Rule {
	return l.NewRule(comment, slices.Concat(exprs...)...)
}

func one(e ...nft.Expr) []nft.Expr { return e }

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// check rejects values that would make an invalid element.
func (l *layout) check(f *model.Frontend) error {
	for _, p := range f.Sources {
		if !p.IsValid() || p != p.Masked() || !l.ours(p.Addr()) {
			return fmt.Errorf("%s of %s: source range %s is malformed or of another family", f.Key, f.Service, p)
		}
	}
	if len(f.Sources) > 0 && f.Key.IsNodePort() {
		return fmt.Errorf("%s of %s: a node port has no source ranges of its own", f.Key, f.Service)
	}
	if home := f.Home(); !l.ours(home.Address) || home.Protocol != f.Key.Protocol {
		return fmt.Errorf("%s of %s cannot share its endpoints and clients with %s", f.Key, f.Service, home)
	}
	for _, b := range []model.Backend{f.Internal, f.External} {
		if b.Verdict != model.Forward {
			continue
		}
		if len(b.Endpoints) == 0 {
			return fmt.Errorf("%s of %s has no endpoints to forward to", f.Key, f.Service)
		}
		if _, ok := masqueradeOf(b.Masquerade); !ok {
			return fmt.Errorf("%s of %s: unknown masquerade decision %q", f.Key, f.Service, b.Masquerade)
		}
		for _, e := range b.Endpoints {
			if !l.ours(e.Addr()) {
				return fmt.Errorf("%s of %s: endpoint %s is of another family", f.Key, f.Service, e)
			}
		}
	}
	return nil
}

// checkSettings rejects values that no rule could hold.
func checkSettings(s *model.NodeSettings) error {
	if len(s.PodInterface) >= unix.IFNAMSIZ {
		return fmt.Errorf("interface name %q is longer than %d characters", s.PodInterface, unix.IFNAMSIZ-1)
	}
	return nil
}
