// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"slices"
)

// NodeSettings are the parameters of a node that belong to no frontend. Parameters of a
// single mode are in its dataplane.Options.
type NodeSettings struct {
	// NodePortAddresses are addresses of the node that node ports answer on. NodePortCIDRs
	// adds the local addresses in these ranges; 0.0.0.0/0 and ::/0 stand for every local
	// address except loopback.
	NodePortAddresses []netip.Addr
	NodePortCIDRs     []netip.Prefix

	// NodePortLocalhost says whether node ports answer on 127.0.0.1 (TCP).
	NodePortLocalhost bool

	// NodePortsRestricted says that only NodePortSources and processes of the node may use
	// node ports. All node ports are Frontend.Restricted then. The ranges are here and not in each
	// of them, so that a changed range is one change.
	NodePortsRestricted bool
	NodePortSources     []netip.Prefix

	// Traffic of this node's Pods is traffic with a source in PodCIDRs, or that arrives
	// through PodInterface (a whole name, or a prefix if PodInterfacePrefix). Without both
	// no traffic counts as that of Pods.
	PodCIDRs           []netip.Prefix
	PodInterface       string
	PodInterfacePrefix bool

	// ServiceCIDRs are the ranges of cluster IPs. Traffic to an address in them is dropped
	// if it is neither a cluster IP, nor matches a frontend, nor is an address of the
	// node.
	ServiceCIDRs []netip.Prefix
}

// AnswersNodePorts says whether node ports answer on one of the node's addresses. No range
// includes loopback: that is NodePortLocalhost.
func (s *NodeSettings) AnswersNodePorts(local netip.Addr) bool {
	return !local.IsLoopback() && (slices.Contains(s.NodePortAddresses, local) ||
		slices.ContainsFunc(s.NodePortCIDRs, func(p netip.Prefix) bool { return p.Contains(local) }))
}

// NodePortsOn returns the addresses that node ports answer on. local lists the node's
// addresses; it is called only if there are NodePortCIDRs.
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
