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

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// portID names a port of a Service. Its frontends are rendered together, because those
// with the same endpoints share a chain.
type portID struct {
	service  model.ServiceID
	name     string
	protocol model.Protocol
}

func portOf(f *model.Frontend) portID { return portID{f.Service, f.PortName, f.Key.Protocol} }

// rendered is the chains of a port of a Service. Their rules are written when they are
// needed.
type rendered struct {
	chains  map[string]func() []string
	entries map[model.FrontendKey][views]*entry
	reduced bool // it has more endpoints than are used
}

// renderPort returns the chains of the frontends of a port, and the first chain of each:
//
//	gate       -s 203.0.113.0/24 -g ..., -g drop               with source ranges only
//	head       mark for masquerading, -g endpoints             where that differs
//	endpoints  DNAT with probability 1/3, 1/2, 1
//
// If all frontends with the same endpoints are masqueraded in the same way, there is no
// head, and the mark is set in the chain of the endpoints.
func renderPort(frontends []*model.Frontend, use subset) rendered {
	out := rendered{chains: map[string]func() []string{}, entries: map[model.FrontendKey][views]*entry{}}
	slices.SortFunc(frontends, func(a, b *model.Frontend) int { return a.Key.Compare(b.Key) })
	var spreads []*spread
	find := func(f *model.Frontend, b model.Backend) *spread {
		i := slices.IndexFunc(spreads, func(s *spread) bool {
			return slices.Equal(s.endpoints, b.Endpoints) && sameAffinity(s.of, f)
		})
		if i < 0 {
			return nil
		}
		return spreads[i]
	}
	for _, f := range frontends {
		for v, b := range f.Views() {
			s := find(f, b)
			if s == nil && b.Verdict == model.Forward {
				s = &spread{of: f, view: v, endpoints: b.Endpoints}
				spreads = append(spreads, s)
			}
			if b.Verdict == model.Forward && !slices.Contains(s.masquerades, b.Masquerade) {
				s.masquerades = append(s.masquerades, b.Masquerade)
			}
		}
	}
	for _, s := range spreads {
		s.render(out.chains, use)
		out.reduced = out.reduced || use.each(s.of) < len(s.endpoints)
	}
	for _, f := range frontends {
		var entries [views]*entry
		for v, b := range f.Views() {
			target := chainRefuse
			switch b.Verdict {
			case model.Drop:
				target = chainDrop
			case model.Forward:
				target = find(f, b).chain(b.Masquerade)
			}
			if f.Restricted && !f.Key.IsNodePort() {
				gate := chainFor(prefixGate, f.Key, v)
				to := target
				out.chains[gate] = func() []string { return gateRules(f.Sources, to) }
				target = gate
			}
			entries[v] = &entry{chain: target, comment: comment(f), restricted: f.Restricted && f.Key.IsNodePort()}
		}
		out.entries[f.Key] = entries
	}
	return out
}

// spread is a chain of endpoints, named after the first view of a frontend that leads to
// it, and the masquerade decisions of all that lead to it.
type spread struct {
	of          *model.Frontend
	view        view
	endpoints   []model.Endpoint
	masquerades []model.Masquerade
}

// chain returns the name of the chain for a masquerade decision.
func (s *spread) chain(m model.Masquerade) string {
	if len(s.masquerades) == 1 || m == model.MasqueradeNever {
		return chainFor(prefixTo, s.of.Key, s.view)
	}
	return chainFor(prefixHead+string(m), s.of.Key, s.view)
}

func (s *spread) render(chains map[string]func() []string, use subset) {
	endpoints := chainFor(prefixTo, s.of.Key, s.view)
	toEndpoints := func() []string { return endpointRules(s.of, use.of(s.of, s.endpoints)) }
	chains[endpoints] = toEndpoints
	for _, m := range s.masquerades {
		if name := s.chain(m); name == endpoints {
			chains[name] = func() []string { return append(markRules(m), toEndpoints()...) }
		} else {
			chains[name] = func() []string { return append(markRules(m), "-g "+endpoints) }
		}
	}
}

// markRules returns the rules that mark packets to be masqueraded.
func markRules(m model.Masquerade) []string {
	switch m {
	case model.MasqueradeUnlessPod:
		return []string{"-j " + chainUnlessPod}
	case model.MasqueradeAlways:
		return []string{setMark(markMasquerade)}
	}
	return nil
}

func sameAffinity(a, b *model.Frontend) bool {
	return a.AffinityTimeoutSeconds == b.AffinityTimeoutSeconds &&
		(a.AffinityTimeoutSeconds == 0 || a.Home() == b.Home())
}

// gateRules accepts packets from some sources and drops the rest.
func gateRules(sources []netip.Prefix, target string) []string {
	var out []string
	for _, p := range sources {
		out = append(out, source(p)+"-g "+target)
	}
	return append(out, "-g "+chainDrop)
}

// endpointRules distributes packets over endpoints. With n endpoints left, a rule takes
// 1/n of the packets that reach it.
func endpointRules(f *model.Frontend, endpoints []model.Endpoint) []string {
	var out []string
	protocol := "-p " + f.Key.Protocol.String() + " "
	if f.AffinityTimeoutSeconds > 0 {
		for _, e := range endpoints {
			out = append(out, protocol+known(f, e)+dnat(e))
		}
	}
	for i, e := range endpoints {
		rule := protocol
		if left := len(endpoints) - i; left > 1 {
			rule += oneIn(left)
		}
		if f.AffinityTimeoutSeconds > 0 {
			rule += remember(f, e)
		}
		out = append(out, rule+dnat(e))
	}
	return out
}

// oneIn returns a match for one packet in n. The kernel stores the probability as a 31-bit
// number, and iptables-save prints that.
func oneIn(n int) string {
	const one = 1 << 31
	return fmt.Sprintf("-m statistic --mode random --probability %.11f ", math.Round(one/float64(n))/one)
}

func dnat(e model.Endpoint) string { return "-j DNAT --to-destination " + e.String() }

// comment returns the name of a frontend's port, for readers of the rules. The names in a
// slice are not validated, and iptables-restore reads lines.
func comment(f *model.Frontend) string {
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

// check rejects what iptables-restore would refuse together with the whole input.
func check(f *model.Frontend, v6 bool) error {
	if f == nil {
		return nil
	}
	errs := []error{checkSources(f, v6)}
	if k := f.Home(); k.Address.Is6() != v6 || k.Protocol != f.Key.Protocol {
		errs = append(errs, fmt.Errorf("%s of %s cannot share its clients with %s", f.Key, f.Service, k))
	}
	for _, b := range []model.Backend{f.Internal, f.External} {
		if b.Verdict != model.Forward {
			continue
		}
		if len(b.Endpoints) == 0 {
			errs = append(errs, fmt.Errorf("%s of %s has no endpoints to forward to", f.Key, f.Service))
		}
		switch b.Masquerade {
		case model.MasqueradeNever, model.MasqueradeUnlessPod, model.MasqueradeAlways:
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

func checkSources(f *model.Frontend, v6 bool) error {
	if len(f.Sources) > 0 && f.Key.IsNodePort() {
		return fmt.Errorf("%s of %s: a node port has no source ranges of its own", f.Key, f.Service)
	}
	for _, p := range f.Sources {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is6() != v6 {
			return fmt.Errorf("%s of %s: source range %s is malformed or of another family", f.Key, f.Service, p)
		}
	}
	return nil
}
