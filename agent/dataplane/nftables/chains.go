// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

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

// chain is a chain with its rules.
type chain struct {
	table *table
	name  string
	attrs []byte // as in a message that creates it
	base  bool
	rules []rule
}

func (c *chain) String() string { return c.table.String() + " chain " + c.name }

// rule is the part of a rule that we choose: encoded expressions and a comment.
type rule struct {
	exprs   []byte // list of elements, as in NFTA_RULE_EXPRESSIONS
	comment string
}

// hook is where and when a chain sees packets.
type hook struct {
	number   uint32
	priority int32
	filters  bool // every packet, not only the first of a connection
}

// chain lays out a chain; at is nil unless it is a base chain.
func (t *table) chain(name string, at *hook, rules ...rule) *chain {
	var w buffer
	w.text(unix.NFTA_CHAIN_TABLE, t.name)
	w.text(unix.NFTA_CHAIN_NAME, name)
	if at != nil {
		start := w.nest(unix.NFTA_CHAIN_HOOK)
		w.number(unix.NFTA_HOOK_HOOKNUM, at.number)
		w.number(unix.NFTA_HOOK_PRIORITY, uint32(at.priority))
		w.endNest(start)
		w.number(unix.NFTA_CHAIN_POLICY, 1) // accept
		w.text(unix.NFTA_CHAIN_TYPE, map[bool]string{false: "nat", true: "filter"}[at.filters])
	}
	return &chain{table: t, name: name, attrs: w.b, base: at != nil, rules: rules}
}

// constantChains returns the chains that depend on nothing. All are consulted
// for the first packet of a connection only. A packet that is refused or dropped
// leaves no connection behind, so the next one is asked anew.
func (t *table) constantChains() []*chain {
	const dstnat, srcnat = -100, 100
	frontends := append(t.lookups(internal), t.rule("a ClusterIP's port that no Service has",
		t.addr(dst, 0), t.in(t.clusterIPs), gotoChain(chainRefuse)),
		t.rule("", jump(chainUnused)))

	return []*chain{
		t.chain(chainPrerouting, &hook{number: unix.NF_INET_PRE_ROUTING, priority: dstnat},
			t.restrict(), t.rule("", jump(chainOutside)), t.rule("", jump(chainFrontends))),
		t.chain(chainOutput, &hook{number: unix.NF_INET_LOCAL_OUT, priority: dstnat},
			t.restrict(), t.rule("", jump(chainLocalhost)), t.rule("", jump(chainFrontends))),
		t.chain(chainPostrouting, &hook{number: unix.NF_INET_POST_ROUTING, priority: srcnat}, t.postrouting()...),
		t.chain(chainFrontends, nil, frontends...),
		t.chain(chainMasquerade, nil,
			t.rule("", loadMark(), setBits(0), storeMark()),
			t.rule("", &expr.Masq{FullyRandom: true})),
		t.chain(chainRefuse, nil, t.refuse()...),
	}
}

// postrouting masquerades what is marked for it, and what an endpoint sends to
// itself.
func (t *table) postrouting() []rule {
	hairpin := []any{t.addr(src, 0), t.addr(dst, t.words()), t.in(t.hairpin), &expr.Masq{FullyRandom: true}}
	if t.layout == balancing {
		hairpin = append(translated(), hairpin...)
	}
	out := []rule{
		t.rule("", loadMark(), mask(native(masqueradeMark)), differs(native(0)), gotoChain(chainMasquerade)),
		t.rule("an endpoint that reaches itself", hairpin...),
	}
	if t.layout == classifying {
		return append(t.afterIPVS(), out...)
	}
	return out
}

// lookups sends a packet to the frontend that it is for, if there is one.
func (t *table) lookups(v view) []rule {
	key := t.frontendKey()
	nodePort := []any{t.addr(dst, 0), t.in(t.nodePorts)}
	nodePort = append(append(nodePort, t.transportKey(0)...), t.verdict(t.verdicts[onNodePort][v]))
	return []rule{
		t.rule("", append(key, t.verdict(t.verdicts[onAddress][v]))...),
		t.rule("", nodePort...),
	}
}

// settingsChains returns the chains that depend on how this node's Pods are known,
// on the ranges of cluster IPs, and on localhost. They are constant otherwise.
func (t *table) settingsChains(s *model.NodeSettings) []*chain {
	pods := t.fromPods(s)
	outside := append(pods[:len(pods):len(pods)], t.lookups(external)...)
	var mark []rule
	if len(pods) > 0 {
		mark = append(pods[:len(pods):len(pods)], t.rule("", loadMark(), setBits(masqueradeMark), storeMark()))
	}
	return []*chain{t.chain(chainOutside, nil, outside...), t.chain(chainMark, nil, mark...), t.unusedChain(s), t.localhostChain(s)}
}

// unusedChain drops what no Service takes, though its address is one for Services:
// it must not leave the node, for who sends it back would do so again and again.
// An address that the node has itself is used, whatever the ranges say.
func (t *table) unusedChain(s *model.NodeSettings) *chain {
	var out []rule
	for _, cidr := range s.ServiceCIDRs {
		if cidr.Addr().Is6() == t.v6() {
			out = append(out, t.rule("a ClusterIP that no Service has",
				t.addr(dst, 0), mask(cidrMask(cidr)), equals(cidr.Masked().Addr().AsSlice()),
				&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true}, differs(native(unix.RTN_LOCAL)),
				&expr.Verdict{Kind: expr.VerdictDrop}))
		}
	}
	return t.chain(chainUnused, nil, out...)
}

// fromPods returns the rules that leave a chain when the packet comes from one of
// this node's Pods.
func (t *table) fromPods(s *model.NodeSettings) []rule {
	var out []rule
	back := &expr.Verdict{Kind: expr.VerdictReturn}
	for _, cidr := range s.PodCIDRs {
		if cidr.Addr().Is6() != t.v6() {
			continue
		}
		out = append(out, t.rule("", t.addr(src, 0), mask(cidrMask(cidr)), equals(cidr.Masked().Addr().AsSlice()), back))
	}
	if s.PodInterface != "" {
		name := []byte(s.PodInterface)
		if !s.PodInterfacePrefix {
			name = append(name, make([]byte, unix.IFNAMSIZ-len(name))...)
		}
		out = append(out, t.rule("", &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equals(name), back))
	}
	return out
}

// refuse answers in the way that a host does where nobody listens.
func (t *table) refuse() []rule {
	const tcpReset, unreachable = 1, 0
	portUnreachable := byte(3)
	if t.v6() {
		portUnreachable = 4
	}
	return []rule{
		t.rule("", &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals([]byte{byte(model.TCP)}),
			reject{kind: tcpReset}),
		t.rule("", reject{kind: unreachable, code: &portUnreachable}),
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
func (c serviceChain) build(t *table) *chain {
	var out []rule
	switch c.masquerade {
	case model.MasqueradeUnlessPod:
		out = append(out, t.rule("", jump(chainMark)))
	case model.MasqueradeAlways:
		out = append(out, t.rule("", loadMark(), setBits(masqueradeMark), storeMark()))
	}
	if t.layout == classifying {
		return t.chain(c.name(), nil, append(out, t.toIPVS(c)...)...)
	}
	if c.timeout > 0 {
		out = append(out, t.sticky(c)...)
	}
	out = append(out, t.dnat(c, c.n))
	if c.n > 1 {
		out = append(out, t.dnat(c, 1))
	}
	out = append(out, t.rule("", &expr.Verdict{Kind: expr.VerdictDrop}))
	return t.chain(c.name(), nil, out...)
}

// dnat sends the packet to one of the first n endpoints.
func (t *table) dnat(c serviceChain, n uint32) rule {
	key, next := t.chainKey(c.at)
	return t.rule("", append(key, &expr.Numgen{Register: register(next), Modulus: n, Type: unix.NFT_NG_RANDOM},
		t.data(t.endpoints[c.at][c.view]), t.translate())...)
}
