// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"slices"
)

// NodeSettings are the parameters of a node that do not belong to a frontend. Those
// of one mode alone are that mode's, see dataplane.Options.
type NodeSettings struct {
	// NodePortAddresses are the node's addresses that node ports answer on.
	// NodePortCIDRs adds those of the local addresses that lie in a range;
	// 0.0.0.0/0 and ::/0 stand for every local address but loopback.
	NodePortAddresses []netip.Addr
	NodePortCIDRs     []netip.Prefix

	// NodePortLocalhost says whether node ports answer on 127.0.0.1 (TCP).
	NodePortLocalhost bool

	// Traffic of this node's Pods is what comes from PodCIDRs, or arrives through
	// PodInterface (a whole name, or a prefix if PodInterfacePrefix). With neither
	// no traffic is known as local.
	PodCIDRs           []netip.Prefix
	PodInterface       string
	PodInterfacePrefix bool

	// ServiceCIDRs are the ranges of cluster IPs. Traffic to an address in them
	// that is no cluster IP, that no frontend takes, and that the node does not
	// have is dropped.
	ServiceCIDRs []netip.Prefix
}

// AnswersNodePorts says whether node ports answer on one of the node's addresses.
// No range means the loopback: that is NodePortLocalhost.
func (s *NodeSettings) AnswersNodePorts(local netip.Addr) bool {
	return !local.IsLoopback() && (slices.Contains(s.NodePortAddresses, local) ||
		slices.ContainsFunc(s.NodePortCIDRs, func(p netip.Prefix) bool { return p.Contains(local) }))
}

// NodePortsOn returns the addresses that node ports answer on. local lists the
// node's addresses, and is not called where no range has to be compared with them.
func (s *NodeSettings) NodePortsOn(local func() ([]netip.Addr, error)) (map[netip.Addr]struct{}, error) {
	candidates := s.NodePortAddresses
	if len(s.NodePortCIDRs) > 0 {
		more, err := local()
		if err != nil {
			return nil, fmt.Errorf("node ports: %w", err)
		}
		candidates = append(slices.Clone(candidates), more...)
	}
	out := map[netip.Addr]struct{}{}
	for _, a := range candidates {
		if s.AnswersNodePorts(a) {
			out[a] = struct{}{}
		}
	}
	return out, nil
}
