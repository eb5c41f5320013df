// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Conflict is an address and port that two Services claim. The winner has it on every
// node, see Table.
type Conflict struct {
	Key                   model.FrontendKey
	Winner, Loser         model.ServiceID
	WinnerKind, LoserKind model.Kind
}

// Claims are what a Service claims in one family: each of its addresses with each of its
// ports. Node ports are left out, because the apiserver allocates each only once.
type Claims struct {
	service   model.ServiceID
	created   int64
	addresses map[netip.Addr]model.Kind
	ports     map[servicePort]string // its name
}

type servicePort struct {
	protocol model.Protocol
	number   uint16
}

// ClaimsOf returns the claims of a Service, given any part of it. Malformed values claim
// nothing.
func ClaimsOf(id model.ServiceID, spec *v1alpha1.ServiceRuleSliceSpec) Claims {
	c := Claims{service: id, created: createdOf(spec), addresses: map[netip.Addr]model.Kind{}, ports: map[servicePort]string{}}
	add := func(kind model.Kind, texts ...string) {
		for _, text := range texts {
			a, err := model.ParseAddr(text)
			if err != nil || model.ValidateFrontendAddress(a) != nil || model.FamilyOf(a) != id.Family {
				continue
			}
			if _, claimed := c.addresses[a]; !claimed {
				c.addresses[a] = kind
			}
		}
	}
	add(model.KindClusterIP, spec.ClusterIP)
	add(model.KindLoadBalancer, spec.LoadBalancerIPs...)
	add(model.KindExternalIP, spec.ExternalIPs...)
	for _, p := range spec.Ports {
		if protocol := model.ProtocolOf(p.Protocol); protocol != 0 && model.ValidPort(p.Port) {
			c.ports[servicePort{protocol, uint16(p.Port)}] = p.Name
		}
	}
	return c
}

// Conflicts returns what two Services of one family both claim, ordered by key. The cost
// is that of the addresses and ports of the smaller one, and of the conflicts.
func (c Claims) Conflicts(o Claims) []Conflict {
	ports := common(c.ports, o.ports)
	var out []Conflict
	for _, a := range common(c.addresses, o.addresses) {
		for _, p := range ports {
			winner, loser := c.claim(a, p), o.claim(a, p)
			if precedence(loser, winner) < 0 {
				winner, loser = loser, winner
			}
			out = append(out, Conflict{Key: loser.Key, Winner: winner.Service, Loser: loser.Service,
				WinnerKind: winner.Kind, LoserKind: loser.Kind})
		}
	}
	slices.SortFunc(out, func(x, y Conflict) int { return x.Key.Compare(y.Key) })
	return out
}

func (c Claims) claim(a netip.Addr, p servicePort) *model.Frontend {
	return &model.Frontend{Key: model.FrontendKey{Address: a, Protocol: p.protocol, Port: p.number},
		Kind: c.addresses[a], Service: c.service, Created: c.created, PortName: c.ports[p]}
}

// common returns the keys that two maps have in common.
func common[K comparable, V any](a, b map[K]V) (out []K) {
	if len(b) < len(a) {
		a, b = b, a
	}
	for key := range a {
		if _, both := b[key]; both {
			out = append(out, key)
		}
	}
	return out
}
