// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// masqueradeMark is the bit of the packet mark for masquerading, the same as that of
// kube-proxy and kubelet.
const masqueradeMark = 0x4000

// The names of the constant chains. None may be a keyword of nft.
const (
	chainPrerouting  = "prerouting"
	chainOutput      = "output"
	chainPostrouting = "postrouting"
	chainOutside     = "outside"
	chainFrontends   = "frontends"
	chainMark        = "mark-unless-pod"
	chainMasquerade  = "masquerade-marked"
	chainAgain       = "look-again"
	chainRefuse      = "refuse"
	chainSources     = "check-sources"
	chainNodePorts   = "check-nodeport-sources"
	chainUnused      = "unused-cluster-ips"
	chainLocalhost   = "nodeports-on-localhost"
)

// constantChains returns the chains that depend on nothing. They see only the first packet
// of a connection, and the reply that rejects it. A rejected or dropped packet leaves no
// connection behind, so the next one is evaluated again.
func (l *layout) constantChains() []*nft.Chain {
	const dstnat, srcnat = -100, 100
	frontends := append(l.lookups(internal), l.NewRule("a ClusterIP's port that no Service has",
		l.Destination(0), nft.In(l.clusterIPs, 0), nft.Goto(chainAgain)),
		l.NewRule("", nft.Jump(chainUnused)))
	// A packet misses an element that is replaced in that moment (before Linux 6.17).
	again := append(l.lookups(internal), l.NewRule("", nft.Goto(chainRefuse)))

	return []*nft.Chain{
		l.NewChain(chainPrerouting, &nft.Hook{Number: unix.NF_INET_PRE_ROUTING, Priority: dstnat},
			l.restrict(), l.NewRule("", nft.Jump(chainOutside)), l.NewRule("", nft.Jump(chainFrontends))),
		l.NewChain(chainOutput, &nft.Hook{Number: unix.NF_INET_LOCAL_OUT, Priority: dstnat},
			append(l.target.output(), l.restrict(), l.NewRule("", nft.Jump(chainLocalhost)), l.NewRule("", nft.Jump(chainFrontends)))...),
		l.NewChain(chainPostrouting, &nft.Hook{Number: unix.NF_INET_POST_ROUTING, Priority: srcnat}, l.postrouting()...),
		l.NewChain(chainFrontends, nil, frontends...),
		l.NewChain(chainAgain, nil, again...),
		l.NewChain(chainMasquerade, nil,
			l.NewRule("", nft.LoadMark(0), setBits(0), nft.StoreMark()),
			l.NewRule("", nft.Masquerade())),
		l.NewChain(chainRefuse, nil, l.refuse()...),
	}
}

// postrouting masquerades marked packets, and packets of an endpoint to itself.
func (l *layout) postrouting() []nft.Rule {
	first, only := l.target.postrouting()
	return append(first,
		l.NewRule("", nft.LoadMark(0), nft.Mask(0, native(masqueradeMark)), nft.Differs(native(0)), nft.Goto(chainMasquerade)),
		l.rule("an endpoint that reaches itself", only, one(
			l.Source(0), l.Destination(l.Words()), nft.In(l.hairpin, 0), nft.Masquerade())))
}

// lookups sends a packet to its frontend, if there is one.
func (l *layout) lookups(v view) (out []nft.Rule) {
	for at, gate := range [wheres][]nft.Expr{onNodePort: {l.Destination(0), nft.In(l.nodePorts, 0)}} {
		if where(at) == onNodePort {
			out = append(out, l.rule("", gate, one(nft.Jump(chainNodePorts))))
		}
		out = append(out, l.rule("", gate, l.key(where(at), 0), one(nft.VerdictOf(l.verdicts[at][v]))))
		out = append(out, l.target.lookups(where(at), v, gate)...)
	}
	return out
}

// settingsChains returns the chains that depend on how this node's Pods are recognized, on
// the ranges of cluster IPs, on the sources of node ports, and on localhost. Otherwise they
// are constant.
func (l *layout) settingsChains(s *model.NodeSettings) []*nft.Chain {
	pods := l.fromPods(s)
	outside := append(pods[:len(pods):len(pods)], l.lookups(external)...)
	var mark, localhost []nft.Rule
	if len(pods) > 0 {
		mark = append(pods[:len(pods):len(pods)], l.markAlways())
	}
	if !l.V6() && s.NodePortLocalhost {
		localhost = l.localhost()
	}
	return []*nft.Chain{l.nodePortSources(s), l.NewChain(chainOutside, nil, outside...), l.NewChain(chainMark, nil, mark...), l.unusedChain(s),
		l.NewChain(chainLocalhost, nil, localhost...)}
}

// localhost looks up packets to 127.0.0.1 among the node ports, if the target supports
// them.
func (l *layout) localhost() []nft.Rule {
	const comment = "node ports on localhost"
	gate := []nft.Expr{l.Destination(0), nft.Equals([]byte{127, 0, 0, 1}), nft.Protocol(0), nft.Equals([]byte{byte(model.TCP)})}
	more := l.target.localhost(comment, gate)
	if more == nil {
		return nil
	}
	return append([]nft.Rule{
		l.rule(comment, gate, l.key(onNodePort, 0), one(nft.VerdictOf(l.verdicts[onNodePort][internal])))}, more...)
}

// unusedChain drops packets to unallocated addresses of ServiceCIDRs: they must not leave
// the node, because a router could send them back again and again. An address of the node
// is reachable, whatever the ranges say.
func (l *layout) unusedChain(s *model.NodeSettings) *nft.Chain {
	var out []nft.Rule
	for _, cidr := range s.ServiceCIDRs {
		if cidr.Addr().Is6() == l.V6() {
			out = append(out, l.NewRule("a ClusterIP that no Service has",
				l.Destination(0), nft.Mask(0, cidrMask(cidr)), nft.Equals(cidr.Masked().Addr().AsSlice()),
				nft.DestinationType(), nft.Differs(native(unix.RTN_LOCAL)),
				nft.Drop()))
		}
	}
	return l.NewChain(chainUnused, nil, out...)
}

// fromPods returns the rules that leave a chain when the packet comes from one of
// this node's Pods.
func (l *layout) fromPods(s *model.NodeSettings) []nft.Rule {
	var out []nft.Rule
	back := nft.Return()
	for _, cidr := range s.PodCIDRs {
		if cidr.Addr().Is6() != l.V6() {
			continue
		}
		out = append(out, l.NewRule("", l.Source(0), nft.Mask(0, cidrMask(cidr)), nft.Equals(cidr.Masked().Addr().AsSlice()), back))
	}
	if s.PodInterface != "" {
		name := []byte(s.PodInterface)
		if !s.PodInterfacePrefix {
			name = append(name, make([]byte, unix.IFNAMSIZ-len(name))...)
		}
		out = append(out, l.NewRule("", nft.InputName(), nft.Equals(name), back))
	}
	return out
}

// refuse answers like a host on which nothing listens.
func (l family) refuse() []nft.Rule {
	return []nft.Rule{
		l.NewRule("", nft.Protocol(0), nft.Equals([]byte{byte(model.TCP)}), nft.RejectTCP()),
		l.NewRule("", l.RejectPort()),
	}
}

// setBits makes the bits of masqueradeMark equal to value.
func setBits(value uint32) nft.Expr { return nft.SetBits(masqueradeMark, value) }

// cidrMask returns the network bits of a range.
func cidrMask(p netip.Prefix) []byte { return nft.Prefix(p.Addr().BitLen()/8, p.Bits()) }
