// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// elements returns what the table has for a frontend, as commands of the nft program that would add
// it. The chains that they lead to are the same for all Services.
func (c *comparison) elements(key model.FrontendKey, held heldFrontend, uses [views]use) (out []string) {
	add := func(s *nft.Set, element, value string) {
		if value != "" {
			element += " : " + value
		}
		out = append(out, fmt.Sprintf("add element %s %s { %s }", c, s.Name, element))
	}
	of := keyText(key)
	if held.restricted {
		add(c.restricted, of, "")
	}
	for _, p := range held.sources {
		add(c.sourceSet(p.Bits()), of+" . "+p.Addr().String(), "")
	}
	d, isDNAT := c.target.(*dnat)
	for v, h := range held.views {
		if h.verdict.kind != absent && h.verdict.kind != foreign {
			add(c.verdicts[whereOf(key)][v], of, h.verdict.String())
		}
		if isDNAT && h.port.isSet() {
			add(d.ports[v], of, fmt.Sprintf("%s . %#010x", keyText(h.port.home), uint32(h.port.masquerade)))
		}
		if u := uses[v]; isDNAT && u.list != (listKey{}) {
			listElements(d, u, c.have.lists[u.list], add)
		}
	}
	if m, ok := c.target.(*marks); ok && held.mark != 0 {
		add(m.set, of, fmt.Sprintf("%#010x", held.mark))
	}
	return out
}

// listElements adds those of a list of endpoints.
func listElements(d *dnat, u use, held heldList, add func(s *nft.Set, element, value string)) {
	of, l := keyText(u.list.home), u.list.list
	if u.shared && held.spread.kind == forward {
		add(d.spread[l], of, held.spread.String())
	}
	for i, e := range held.endpoints {
		if e.IsValid() {
			add(d.endpoints[l], fmt.Sprintf("%s . %d", of, i), endpointText(e))
		}
	}
	for i, e := range held.choices {
		if e.IsValid() {
			add(d.choices[l], fmt.Sprintf("%s . %d", of, i), u.list.home.Protocol.String()+" . "+endpointText(e))
		}
	}
	for _, e := range held.affine {
		add(d.affine[l], fmt.Sprintf("%s . %d . %s . %s", u.list.home.Address, u.list.home.Port, u.list.home.Protocol, endpointText(e)), "")
	}
}

func keyText(k model.FrontendKey) string {
	return fmt.Sprintf("%s . %s . %d", k.Protocol, k.Address, k.Port)
}

func endpointText(e model.Endpoint) string { return fmt.Sprintf("%s . %d", e.Addr(), e.Port()) }
