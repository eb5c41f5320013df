// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import "github.com/fairlead-proxy/fairlead/rules/model"

// What is written costs 16 µs of the kernel and the programs for each line with nft; with
// legacy the kernel reads the whole table again at each change, 2 µs for each rule in it.
const (
	// maxEndpoints bounds the endpoints of all ports of a Service, for which there is a
	// rule each: 100,000 take 1.6 s with nft, and with legacy each later change 0.3 s, of
	// whichever Service.
	maxEndpoints = 4096

	// maxStep bounds the frontends and endpoints of one change of the tables, about as many
	// lines. Other Services wait for them 10 ms, besides the 15 to 30 ms that any change
	// takes.
	maxStep = 512
)

// subset says which of the endpoints of a port are used.
type subset struct {
	together int    // of all ports of a Service
	seed     string // differs between nodes
}

func (u subset) each(f *model.Frontend) int { return model.EndpointsEach(u.together, f.Ports) }

func (u subset) of(f *model.Frontend, all []model.Endpoint) []model.Endpoint {
	return model.Subset(all, u.each(f), u.seed)
}
