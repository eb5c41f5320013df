// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/rules"
)

// portID names a port of a Service. Its frontends are rendered together, because
// those that lead to the same endpoints in the same way share a chain.
type portID struct {
	service  rules.ServiceID
	name     string
	protocol rules.Protocol
}

func portOf(f *rules.Frontend) portID { return portID{f.Service, f.PortName, f.Key.Protocol} }

// rendered is what a port of a Service needs.
type rendered struct {
	chains  map[string][]string
	entries map[rules.FrontendKey][views]*entry
}

// renderPort returns the chains of the frontends of a port, and where each of them
// begins:
//
//	gate       -s 203.0.113.0/24 -g endpoints, ... -g drop     with source ranges only
//	endpoints  mark for masquerading, DNAT with 1/3, DNAT with 1/2, DNAT
//
// A chain of endpoints has the name of the first of its frontends.
func renderPort(frontends []*rules.Frontend) rendered {
	out := rendered{chains: map[string][]string{}, entries: map[rules.FrontendKey][views]*entry{}}
	slices.SortFunc(frontends, func(a, b *rules.Frontend) int { return a.Key.Compare(b.Key) })
	type user struct {
		*rules.Frontend
		rules.Backend
		chain string
	}
	var users []user
	for _, f := range frontends {
		var entries [views]*entry
		for v, b := range []rules.Backend{internal: f.Internal, external: f.External} {
			if view(v) == external && b.Equal(f.Internal) {
				continue // the internal view tells it as well
			}
			target := chainRefuse
			switch b.Verdict {
			case rules.Drop:
				target = chainDrop
			case rules.Forward:
				same := slices.IndexFunc(users, func(u user) bool { return u.Backend.Equal(b) && sameAffinity(u.Frontend, f) })
				if same < 0 {
					same = len(users)
					u := user{f, b, chainFor(prefixTo, f.Key, view(v))}
					users = append(users, u)
					out.chains[u.chain] = endpointRules(f, b)
				}
				target = users[same].chain
			}
			if f.Restricted {
				gate := chainFor(prefixGate, f.Key, view(v))
				out.chains[gate] = gateRules(f.Sources, target)
				target = gate
			}
			entries[v] = &entry{chain: target, comment: comment(f)}
		}
		out.entries[f.Key] = entries
	}
	return out
}

func sameAffinity(a, b *rules.Frontend) bool {
	return a.AffinityTimeoutSeconds == b.AffinityTimeoutSeconds &&
		(a.AffinityTimeoutSeconds == 0 || affinityKey(a) == affinityKey(b))
}

// gateRules lets packets from some sources pass.
func gateRules(sources []netip.Prefix, target string) []string {
	var out []string
	for _, p := range sources {
		out = append(out, source(p)+"-g "+target)
	}
	return append(out, "-g "+chainDrop)
}

// endpointRules spreads packets over endpoints. Of n endpoints that are left, each
// takes one part in n of the packets that come to its rule.
func endpointRules(f *rules.Frontend, b rules.Backend) []string {
	var out []string
	switch b.Masquerade {
	case rules.MasqueradeUnlessPod:
		out = append(out, "-j "+chainUnlessPod)
	case rules.MasqueradeAlways:
		out = append(out, setMark(markMasquerade))
	}
	protocol := "-p " + f.Key.Protocol.String() + " "
	if f.AffinityTimeoutSeconds > 0 {
		for _, e := range b.Endpoints {
			out = append(out, protocol+known(f, e)+dnat(e))
		}
	}
	for i, e := range b.Endpoints {
		rule := protocol
		if left := len(b.Endpoints) - i; left > 1 {
			rule += oneIn(left)
		}
		if f.AffinityTimeoutSeconds > 0 {
			rule += remember(f, e)
		}
		out = append(out, rule+dnat(e))
	}
	return out
}

// oneIn returns the text of a match that takes one packet in n. The kernel holds
// the probability as a number of 31 bits, and this is what is printed of it.
func oneIn(n int) string {
	const one = 1 << 31
	return fmt.Sprintf("-m statistic --mode random --probability %.11f ", math.Round(one/float64(n))/one)
}

func dnat(e rules.Endpoint) string { return "-j DNAT --to-destination " + e.String() }

// comment returns the name of a frontend's port, for who reads the rules. Nobody
// has checked the names in a slice, and a line is what iptables-restore reads.
func comment(f *rules.Frontend) string {
	const longest = 200
	text := f.Service.Namespace + "/" + f.Service.Name
	if f.PortName != "" {
		text += ":" + f.PortName
	}
	return strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, text[:min(len(text), longest)])
}

// check guards what iptables-restore would refuse with all that comes with it.
func check(f *rules.Frontend, v6 bool) error {
	if f == nil {
		return nil
	}
	errs := []error{checkSources(f, v6)}
	if k := f.AffinityKey; k != (rules.FrontendKey{}) && (k.Address.Is6() != v6 || k.Protocol != f.Key.Protocol) {
		errs = append(errs, fmt.Errorf("%s of %s cannot share its clients with %s", f.Key, f.Service, k))
	}
	for _, b := range []rules.Backend{f.Internal, f.External} {
		if b.Verdict != rules.Forward {
			continue
		}
		if len(b.Endpoints) == 0 {
			errs = append(errs, fmt.Errorf("%s of %s forwards to no endpoint", f.Key, f.Service))
		}
		switch b.Masquerade {
		case rules.MasqueradeNever, rules.MasqueradeUnlessPod, rules.MasqueradeAlways:
		default:
			errs = append(errs, fmt.Errorf("%s of %s: unknown masquerade decision %q", f.Key, f.Service, b.Masquerade))
		}
		for _, e := range b.Endpoints {
			if e.Addr().Is6() != v6 {
				errs = append(errs, fmt.Errorf("%s of %s: endpoint %s is of another family", f.Key, f.Service, e))
			}
		}
	}
	return errors.Join(errs...)
}

func checkSources(f *rules.Frontend, v6 bool) error {
	if f.Restricted && f.Key.IsNodePort() {
		return fmt.Errorf("%s of %s: a node port has no source ranges", f.Key, f.Service)
	}
	for _, p := range f.Sources {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is6() != v6 {
			return fmt.Errorf("%s of %s: source range %s is malformed or of another family", f.Key, f.Service, p)
		}
	}
	return nil
}
