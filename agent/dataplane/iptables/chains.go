// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The tables, in the order in which they are written: the rules that act on a mark exist
// before the rules that set it.
const (
	tableFilter = "filter"
	tableMangle = "mangle" // see localhost.go
	tableNAT    = "nat"
)

var tables = []string{tableFilter, tableMangle, tableNAT}

// chainID names a chain.
type chainID struct{ table, name string }

// jump is a rule from a built-in chain to one of ours. We add nothing else to chains of
// others. It is inserted as the first rule, and stays in place if others insert rules
// before it.
type jump struct{ table, from, to string }

func (j jump) rule() string { return j.from + " -j " + j.to }

var jumps = []jump{
	{tableFilter, "INPUT", chainFilter},
	{tableFilter, "FORWARD", chainFilter},
	{tableFilter, "OUTPUT", chainFilter},
	{tableNAT, "PREROUTING", chainPrerouting},
	{tableNAT, "OUTPUT", chainOutput},
	{tableNAT, "POSTROUTING", chainPostrouting},
}

// fixedChains returns the chains that do not depend on the node or on Services.
func fixedChains(v6 bool) map[chainID][]string {
	unreachable := "icmp-port-unreachable"
	if v6 {
		unreachable = "icmp6-port-unreachable"
	}
	return map[chainID][]string{
		{tableFilter, chainFilter}: {
			marked(markDrop) + " -j DROP",
			marked(markRefuse) + " -j " + chainRefuse,
		},
		// A reply may inherit the mark (fwmark_reflect), and must not be rejected itself.
		{tableFilter, chainRefuse}: {
			clearMark(markRefuse),
			"-p tcp -j REJECT --reject-with tcp-reset",
			"-j REJECT --reject-with " + unreachable,
		},
		{tableNAT, chainPrerouting}: {"-j " + chainOutside, "-j " + chainServices},
		{tableNAT, chainRefuse}:     {setMark(markRefuse), "-j ACCEPT"},
		{tableNAT, chainDrop}:       {setMark(markDrop), "-j ACCEPT"},
		// Clear the mark: otherwise packets of a tunnel that encapsulates this one are
		// masqueraded too.
		{tableNAT, chainMasquerade}: {clearMark(markMasquerade), "-j MASQUERADE --random-fully"},
	}
}

// hairpinRules masquerades packets of an endpoint on this node to itself.
func hairpinRules(a netip.Addr) []string {
	return []string{fmt.Sprintf("-s %s -d %s -j MASQUERADE --random-fully", single(a), single(a))}
}

// settings are what settingsChains needs.
type settings struct {
	model.NodeSettings
	nodePorts []netip.Addr // addresses that node ports answer on, sorted
	v6        bool
}

// onAll says whether node ports answer on all addresses of the node.
func (s *settings) onAll() bool {
	return slices.ContainsFunc(s.NodePortCIDRs, func(p netip.Prefix) bool { return p.Bits() == 0 && p.Addr().Is6() == s.v6 })
}

// settingsChains returns the chains that depend on the node.
func settingsChains(s *settings) map[chainID][]string {
	pods := s.fromPods()
	outside := append(pods[:len(pods):len(pods)], "-j "+rootAddresses[external])
	services := []string{"-j " + rootAddresses[internal]}
	var mark, output []string
	if len(pods) > 0 {
		mark = append(pods[:len(pods):len(pods)], setMark(markMasquerade))
	}
	for _, to := range s.toNodePorts() {
		outside = append(outside, to+" -j "+rootNodePorts[external])
		services = append(services, to+" -j "+rootNodePorts[internal])
	}
	for _, p := range s.ServiceCIDRs {
		if p.Addr().Is6() == s.v6 {
			// An address of the node is reachable, whatever the ranges say.
			services = append(services, fmt.Sprintf("-d %s -m addrtype ! --dst-type LOCAL -g %s", p.Masked(), chainDrop))
		}
	}
	postrouting := []string{
		marked(markMasquerade) + " -j " + chainMasquerade,
		"-m conntrack --ctstate DNAT -j " + rootHairpin,
	}
	if s.NodePortLocalhost && !s.v6 {
		output = append(output, "-d 127.0.0.1/32 -p tcp -j "+rootNodePorts[internal])
		postrouting = append(postrouting, "-s 127.0.0.0/8 ! -o lo -m conntrack --ctstate DNAT -j MASQUERADE --random-fully")
	}
	return map[chainID][]string{
		{tableNAT, chainSources}:   s.nodePortSources(),
		{tableNAT, chainOutside}:   outside,
		{tableNAT, chainServices}:  services,
		{tableNAT, chainUnlessPod}: mark,
		{tableNAT, chainOutput}:    append(output, "-j "+chainServices),

		{tableNAT, chainPostrouting}: postrouting,
	}
}

// nodePortSources returns the rules that leave the chain for packets to a restricted node
// port from sources that are allowed, and drop others.
func (s *settings) nodePortSources() []string {
	if !s.NodePortsRestricted {
		return nil
	}
	out := []string{"-m addrtype --src-type LOCAL -j RETURN"} // a process of the node
	for _, p := range s.NodePortSources {
		if p.Addr().Is6() == s.v6 {
			out = append(out, source(p)+"-j RETURN")
		}
	}
	return append(out, "-g "+chainDrop)
}

// fromPods returns the rules that leave a chain if the packet comes from one of this
// node's Pods.
func (s *settings) fromPods() []string {
	var out []string
	for _, p := range s.PodCIDRs {
		if p.Addr().Is6() == s.v6 {
			out = append(out, source(p)+"-j RETURN")
		}
	}
	if s.PodInterface != "" {
		name := s.PodInterface
		if s.PodInterfacePrefix {
			name += "+"
		}
		out = append(out, "-i "+name+" -j RETURN")
	}
	return out
}

// toNodePorts returns matches for packets to an address that node ports answer on.
func (s *settings) toNodePorts() []string {
	if s.onAll() {
		loopback := "127.0.0.0/8"
		if s.v6 {
			loopback = "::1/128"
		}
		return []string{"! -d " + loopback + " -m addrtype --dst-type LOCAL"}
	}
	var out []string
	for _, a := range s.nodePorts {
		if a.Is6() == s.v6 {
			out = append(out, "-d "+single(a))
		}
	}
	return out
}

// checkSettings rejects values that would change the meaning of a rule.
func checkSettings(s *model.NodeSettings) error {
	if len(s.PodInterface) >= unix.IFNAMSIZ {
		return fmt.Errorf("interface name %q is longer than %d characters", s.PodInterface, unix.IFNAMSIZ-1)
	}
	if strings.ContainsFunc(s.PodInterface, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'\+!/`, r) }) {
		return errors.New("interface name " + fmt.Sprintf("%q", s.PodInterface) + " has characters that iptables does not accept")
	}
	return nil
}
