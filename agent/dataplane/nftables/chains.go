// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// masqueradeMark is the bit of the packet mark that asks for masquerading; the
// same as kube-proxy's and kubelet's.
const masqueradeMark = 0x4000

// The names of the constant chains. None may be a word of nft's language.
const (
	chainPrerouting  = "prerouting"
	chainOutput      = "output"
	chainPostrouting = "postrouting"
	chainOutside     = "outside"
	chainFrontends   = "frontends"
	chainMark        = "mark-unless-pod"
	chainMasquerade  = "masquerade-marked"
	chainRefuse      = "refuse"
	chainSources     = "check-sources"
	chainUnused      = "unused-cluster-ips"
	chainLocalhost   = "nodeports-on-localhost"
)

// constantChains returns the chains that depend on nothing. All are consulted
// for the first packet of a connection only. A packet that is refused or dropped
// leaves no connection behind, so the next one is asked anew.
func (t *table) constantChains() []*nft.Chain {
	const dstnat, srcnat = -100, 100
	frontends := append(t.lookups(internal), t.NewRule("a ClusterIP's port that no Service has",
		t.Destination(0), nft.In(t.clusterIPs, 0), nft.Goto(chainRefuse)),
		t.NewRule("", nft.Jump(chainUnused)))

	return []*nft.Chain{
		t.NewChain(chainPrerouting, &nft.Hook{Number: unix.NF_INET_PRE_ROUTING, Priority: dstnat},
			t.restrict(), t.NewRule("", nft.Jump(chainOutside)), t.NewRule("", nft.Jump(chainFrontends))),
		t.NewChain(chainOutput, &nft.Hook{Number: unix.NF_INET_LOCAL_OUT, Priority: dstnat},
			t.restrict(), t.NewRule("", nft.Jump(chainLocalhost)), t.NewRule("", nft.Jump(chainFrontends))),
		t.NewChain(chainPostrouting, &nft.Hook{Number: unix.NF_INET_POST_ROUTING, Priority: srcnat}, t.postrouting()...),
		t.NewChain(chainFrontends, nil, frontends...),
		t.NewChain(chainMasquerade, nil,
			t.NewRule("", nft.LoadMark(), setBits(0), nft.StoreMark()),
			t.NewRule("", nft.Masquerade())),
		t.NewChain(chainRefuse, nil, t.refuse()...),
	}
}

// postrouting masquerades what is marked for it, and what an endpoint sends to
// itself.
func (t *table) postrouting() []nft.Rule {
	hairpin := []nft.Expr{t.Source(0), t.Destination(t.Words()), nft.In(t.hairpin, 0), nft.Masquerade()}
	if t.layout == balancing {
		hairpin = append(nft.Translated(), hairpin...)
	}
	out := []nft.Rule{
		t.NewRule("", nft.LoadMark(), nft.Mask(0, native(masqueradeMark)), nft.Differs(native(0)), nft.Goto(chainMasquerade)),
		t.NewRule("an endpoint that reaches itself", hairpin...),
	}
	if t.layout == classifying {
		return append(t.afterIPVS(), out...)
	}
	return out
}

// lookups sends a packet to the frontend that it is for, if there is one.
func (t *table) lookups(v view) []nft.Rule {
	key := t.frontendKey()
	nodePort := []nft.Expr{t.Destination(0), nft.In(t.nodePorts, 0)}
	nodePort = append(append(nodePort, t.transportKey(0)...), nft.VerdictOf(t.verdicts[onNodePort][v]))
	return []nft.Rule{
		t.NewRule("", append(key, nft.VerdictOf(t.verdicts[onAddress][v]))...),
		t.NewRule("", nodePort...),
	}
}

// settingsChains returns the chains that depend on how this node's Pods are known,
// on the ranges of cluster IPs, and on localhost. They are constant otherwise.
func (t *table) settingsChains(s *model.NodeSettings) []*nft.Chain {
	pods := t.fromPods(s)
	outside := append(pods[:len(pods):len(pods)], t.lookups(external)...)
	var mark []nft.Rule
	if len(pods) > 0 {
		mark = append(pods[:len(pods):len(pods)], t.NewRule("", nft.LoadMark(), setBits(masqueradeMark), nft.StoreMark()))
	}
	return []*nft.Chain{t.NewChain(chainOutside, nil, outside...), t.NewChain(chainMark, nil, mark...), t.unusedChain(s), t.localhostChain(s)}
}

// unusedChain drops what no Service takes, though its address is one for Services:
// it must not leave the node, for who sends it back would do so again and again.
// An address that the node has itself is used, whatever the ranges say.
func (t *table) unusedChain(s *model.NodeSettings) *nft.Chain {
	var out []nft.Rule
	for _, cidr := range s.ServiceCIDRs {
		if cidr.Addr().Is6() == t.V6() {
			out = append(out, t.NewRule("a ClusterIP that no Service has",
				t.Destination(0), nft.Mask(0, cidrMask(cidr)), nft.Equals(cidr.Masked().Addr().AsSlice()),
				nft.DestinationType(), nft.Differs(native(unix.RTN_LOCAL)),
				nft.Drop()))
		}
	}
	return t.NewChain(chainUnused, nil, out...)
}

// fromPods returns the rules that leave a chain when the packet comes from one of
// this node's Pods.
func (t *table) fromPods(s *model.NodeSettings) []nft.Rule {
	var out []nft.Rule
	back := nft.Return()
	for _, cidr := range s.PodCIDRs {
		if cidr.Addr().Is6() != t.V6() {
			continue
		}
		out = append(out, t.NewRule("", t.Source(0), nft.Mask(0, cidrMask(cidr)), nft.Equals(cidr.Masked().Addr().AsSlice()), back))
	}
	if s.PodInterface != "" {
		name := []byte(s.PodInterface)
		if !s.PodInterfacePrefix {
			name = append(name, make([]byte, unix.IFNAMSIZ-len(name))...)
		}
		out = append(out, t.NewRule("", nft.InputName(), nft.Equals(name), back))
	}
	return out
}

// refuse answers in the way that a host does where nobody listens.
func (t *table) refuse() []nft.Rule {
	return []nft.Rule{
		t.NewRule("", nft.Protocol(0), nft.Equals([]byte{byte(model.TCP)}), nft.RejectTCP()),
		t.NewRule("", t.RejectPort()),
	}
}

// serviceChain is the identity of a chain that spreads over a number of
// endpoints. All frontends with that number and that affinity share it.
type serviceChain struct {
	at         where
	view       view
	masquerade model.Masquerade
	n          uint32
	timeout    int32 // of the clients' affinity in seconds; 0: none
	marked     bool  // only when classifying, when there is no number
}

// chainKinds name the chains after the traffic that is masqueraded so.
var chainKinds = map[model.Masquerade]string{
	model.MasqueradeUnlessPod: "cluster",
	model.MasqueradeAlways:    "external",
	model.MasqueradeNever:     "local",
}

func (c serviceChain) name() string {
	prefix := [wheres][views]string{{"", "outside-"}, {"nodeport-", "outside-nodeport-"}}[c.at][c.view]
	name := prefix + chainKinds[c.masquerade] + "-"
	switch {
	case c.marked:
		return name + suffixMark
	case c.n == 0:
		return name + suffixIPVS
	}
	name += fmt.Sprint(c.n)
	if c.timeout > 0 {
		name += fmt.Sprintf("-affinity-%d", c.timeout)
	}
	return name
}

// build returns the chain with its rules.
//
// A lookup sees the newest elements while the packet may have come here by the
// rules of a moment ago. So a number can be gone: then the first endpoint is
// taken, and if all are gone the packet is dropped, for its sender will repeat
// it. It never goes on with the frontend's address.
func (c serviceChain) build(t *table) *nft.Chain {
	var out []nft.Rule
	switch c.masquerade {
	case model.MasqueradeUnlessPod:
		out = append(out, t.NewRule("", nft.Jump(chainMark)))
	case model.MasqueradeAlways:
		out = append(out, t.NewRule("", nft.LoadMark(), setBits(masqueradeMark), nft.StoreMark()))
	}
	if t.layout == classifying {
		return t.NewChain(c.name(), nil, append(out, t.toIPVS(c)...)...)
	}
	if c.timeout > 0 {
		out = append(out, t.sticky(c)...)
	}
	out = append(out, t.dnat(c, c.n))
	if c.n > 1 {
		out = append(out, t.dnat(c, 1))
	}
	out = append(out, t.NewRule("", nft.Drop()))
	return t.NewChain(c.name(), nil, out...)
}

// dnat sends the packet to one of the first n endpoints.
func (t *table) dnat(c serviceChain, n uint32) nft.Rule {
	key, next := t.chainKey(c.at)
	return t.NewRule("", append(key, nft.Random(next, n),
		nft.DataOf(t.endpoints[c.at][c.view], 0, 0), t.TranslateDestination())...)
}
