// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// localhostChain looks packets to 127.0.0.1 up among the node ports. IPVS cannot
// take them.
func (t *table) localhostChain(s *model.NodeSettings) *nft.Chain {
	if t.V6() || t.layout != balancing || !s.NodePortLocalhost {
		return t.NewChain(chainLocalhost, nil)
	}
	return t.NewChain(chainLocalhost, nil, t.NewRule("node ports on localhost",
		append([]nft.Expr{t.Destination(0), nft.Equals([]byte{127, 0, 0, 1}), nft.Protocol(0), nft.Equals([]byte{byte(model.TCP)})},
			append(t.transportKey(0), nft.VerdictOf(t.verdicts[onNodePort][internal]))...)...))
}
