// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// list is one of the two lists of endpoints of a Service's port, see
// model.Backend.Local.
type list uint8

const (
	clusterList list = iota
	localList
	lists
)

// masquerade is a compact model.Masquerade.
type masquerade uint8

const (
	masqueradeNever masquerade = iota
	masqueradeUnlessPod
	masqueradeAlways
	masquerades
)

// masqueradeNames name the chains after the traffic that is masqueraded so.
var masqueradeNames = [masquerades]string{masqueradeNever: "local", masqueradeUnlessPod: "cluster", masqueradeAlways: "external"}

func masqueradeOf(m model.Masquerade) (masquerade, bool) {
	switch m {
	case model.MasqueradeNever:
		return masqueradeNever, true
	case model.MasqueradeUnlessPod:
		return masqueradeUnlessPod, true
	case model.MasqueradeAlways:
		return masqueradeAlways, true
	}
	return 0, false
}

// role is what a chain is for.
type role uint8

const (
	// own sends packets of the frontend with the port's key to its endpoints.
	own role = iota + 1
	// shared does so for the other frontends of a port, which are masqueraded already.
	shared
	// toIPVS and toMark leave the choice to IPVS.
	toIPVS
	toMark
)

// portChain identifies a chain that a verdict of a map leads to. Frontends and ports with
// the same portChain share the chain.
type portChain struct {
	role       role
	list       list
	masquerade masquerade // except for shared
	n          uint32     // number of endpoints, for own and shared
	timeout    int32      // of the clients' affinity in seconds; 0: none
	group      uint8      // of these clients, see affinityGroup
}

const (
	sharedName = "port"
	suffixIPVS = "ipvs"
	suffixMark = "mark"
	localStart = "here-"
	affinity   = "-affinity-"
)

// name returns for example "cluster-3" or "here-port-2-affinity-10800-7".
func (c portChain) name() string {
	name := masqueradeNames[c.masquerade] + "-"
	if c.role == shared {
		name = sharedName + "-"
	}
	if c.list == localList {
		name = localStart + name
	}
	switch c.role {
	case toIPVS:
		return name + suffixIPVS
	case toMark:
		return name + suffixMark
	}
	name += fmt.Sprint(c.n)
	if c.timeout > 0 {
		name += affinity + fmt.Sprint(c.timeout)
	}
	if c.group > 0 {
		name += fmt.Sprint("-", c.group)
	}
	return name
}

// parsePortChain is the reverse of name.
func parsePortChain(name string) (portChain, bool) {
	var c portChain
	rest, text, sticky := strings.Cut(name, affinity)
	if sticky {
		text, number, grouped := strings.Cut(text, "-")
		timeout, err := strconv.ParseInt(text, 10, 32)
		if err != nil || timeout <= 0 {
			return c, false
		}
		c.timeout = int32(timeout)
		if grouped {
			group, err := strconv.ParseUint(number, 10, 8)
			if err != nil || group >= affinityGroups {
				return c, false
			}
			c.group = uint8(group)
		}
	}
	rest, local := strings.CutPrefix(rest, localStart)
	if local {
		c.list = localList
	}
	kind, n, _ := strings.Cut(rest, "-")
	switch number, err := strconv.ParseUint(n, 10, 32); {
	case n == suffixIPVS:
		c.role = toIPVS
	case n == suffixMark:
		c.role = toMark
	case err != nil || number == 0:
		return c, false
	case kind == sharedName:
		c.role, c.n = shared, uint32(number)
	default:
		c.role, c.n = own, uint32(number)
	}
	for m, name := range masqueradeNames {
		if name == kind {
			c.masquerade = masquerade(m)
		}
	}
	return c, c.name() == name
}

// build returns the chain with its rules. A packet that they do not match must not
// continue with the frontend's address: it is dropped, and its sender repeats it.
func (l *layout) build(c portChain) *nft.Chain {
	var out []nft.Rule
	if c.role != shared {
		switch c.masquerade {
		case masqueradeUnlessPod:
			out = append(out, l.NewRule("", nft.Jump(chainMark)))
		case masqueradeAlways:
			out = append(out, l.markAlways())
		}
	}
	out = append(out, l.target.rules(c)...)
	return l.NewChain(c.name(), nil, append(out, l.NewRule("", nft.Drop()))...)
}

// markAlways marks the packet to be masqueraded.
func (l family) markAlways() nft.Rule {
	return l.NewRule("", nft.LoadMark(0), setBits(masqueradeMark), nft.StoreMark())
}

// verdict is the value for a frontend or a port in a map of verdicts. The zero verdict
// means no element.
type verdict struct {
	kind  verdictKind
	chain portChain // of a forward
}

type verdictKind uint8

const (
	absent verdictKind = iota
	forward
	refuse
	drop
	foreign // not one of ours
)

func forwardTo(c portChain) verdict { return verdict{forward, c} }

// element returns what the element holds.
func (v verdict) element() nft.Verdict {
	switch v.kind {
	case forward:
		return nft.VerdictGoto(v.chain.name())
	case refuse:
		return nft.VerdictGoto(chainRefuse)
	}
	return nft.VerdictDrop()
}

// parseVerdict is the reverse of element, with the chains that are known.
func parseVerdict(v nft.Verdict, known map[string]portChain) verdict {
	c, ok := known[v.Chain]
	switch {
	case v == nft.VerdictDrop():
		return verdict{kind: drop}
	case v == nft.VerdictGoto(chainRefuse):
		return verdict{kind: refuse}
	case ok && v == nft.VerdictGoto(v.Chain):
		return forwardTo(c)
	}
	return verdict{kind: foreign}
}

// putVerdict changes an element of a map of verdicts.
func putVerdict(b *nft.Batch, s *nft.Set, key []byte, old, now verdict) {
	if old == now {
		return
	}
	if old.kind != absent {
		b.Delete(s).Key(key)
	}
	if now.kind != absent {
		b.Add(s).Verdict(key, now.element())
	}
}
