// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import "github.com/fairlead-proxy/fairlead/agent/kernel/nft"

// tableName is the name of our table in each of the two families.
const tableName = "fairlead"

// tableComment is printed by `nft list ruleset`. It carries the version of the
// layout: a table with another comment is replaced as a whole.
var tableComment = [...]string{
	balancing:   "managed by fairlead-agent, manual edits are reverted (layout 3)",
	classifying: "managed by fairlead-agent, manual edits are reverted (layout 3 for IPVS)",
}

// layout is what a table is for.
type layout int

const (
	balancing   layout = iota // it leads packets to endpoints itself
	classifying               // it prepares them for IPVS, see Classifier
	layouts
)

// view is one of the two ways to see a frontend. See rules.Frontend.
type view int

const (
	internal view = iota
	external
	views
)

// where says whether a frontend is an address with a port, or a node port.
type where int

const (
	onAddress where = iota
	onNodePort
	wheres
)

// table is the layout of one family: everything that does not change.
type table struct {
	*nft.Table
	layout layout

	// verdicts says for each frontend which chain takes its packets; endpoints
	// says for each frontend and number which endpoint that is.
	verdicts  [wheres][views]*nft.Set
	endpoints [wheres][views]*nft.Set // when balancing

	// marks says for each frontend which firewall mark packets from outside get.
	marks    [wheres]*nft.Set // when classifying
	assigned assignedMarks

	clusterIPs *nft.Set
	nodePorts  *nft.Set // the addresses that node ports answer on
	hairpin    *nft.Set

	// Frontends in restricted are for those sources only that are in one of the
	// sets sources, by the length of a range. Those are made as they are needed.
	restricted *nft.Set
	sources    map[int]*nft.Set

	// affinity remembers the endpoints of clients. affinityPorts says for each
	// frontend under which Service's port, choices which endpoints a new client
	// can get, and affine which ones a known client can still use.
	affinity        *nft.Set
	affinityPorts   [wheres]*nft.Set
	choices, affine [wheres][views]*nft.Set

	// Their content is the only thing that depends on the Services.
	sets   []*nft.Set
	chains []*nft.Chain // the constant ones, except those that depend on NodeSettings
}

// newTable lays out the table of a family. A dormant table never sees a packet.
func newTable(family byte, name string, layout layout, dormant bool) *table {
	t := &table{Table: nft.NewTable(family, name, tableComment[layout], dormant), layout: layout, assigned: assignedMarks{}}
	for v, suffix := range []string{internal: "", external: "-external"} {
		for at, names := range [][2]string{onAddress: {"services", "endpoints"}, onNodePort: {"nodeports", "nodeport-endpoints"}} {
			withAddr := where(at) == onAddress
			t.verdicts[at][v] = t.addSet(nft.SetSpec{
				Name: names[0] + suffix, Key: t.keyFields(withAddr, false), Verdicts: true})
			if layout == balancing {
				t.endpoints[at][v] = t.addSet(nft.SetSpec{
					Name: names[1] + suffix, Key: t.keyFields(withAddr, true), Data: t.endpointFields()})
			}
		}
	}
	t.clusterIPs = t.addSet(nft.SetSpec{Name: "cluster-ips", Key: []nft.Field{t.DestinationField()}})
	t.nodePorts = t.addSet(nft.SetSpec{Name: "nodeport-addresses", Key: []nft.Field{t.DestinationField()}})
	t.hairpin = t.addSet(nft.SetSpec{Name: "hairpin", Key: []nft.Field{t.DestinationField(), t.DestinationField()}})
	t.restricted = t.addSet(nft.SetSpec{Name: "restricted", Key: t.keyFields(true, false)})
	t.sources = map[int]*nft.Set{}
	if layout == balancing {
		t.addAffinitySets()
	} else {
		t.addMarkSets()
	}
	t.chains = t.constantChains()
	return t
}

// addSet adds a set to the layout.
func (t *table) addSet(spec nft.SetSpec) *nft.Set {
	s := t.NewSet(spec)
	t.sets = append(t.sets, s)
	return s
}

// keyFields is the key of a frontend, and the number of an endpoint.
func (t *table) keyFields(addr, index bool) []nft.Field {
	var out []nft.Field
	if addr {
		out = append(out, t.DestinationField())
	}
	out = append(out, nft.ProtocolField(), nft.PortField())
	if index {
		out = append(out, nft.NumberField())
	}
	return out
}

func (t *table) endpointFields() []nft.Field {
	return []nft.Field{t.DestinationField(), nft.PortField()}
}
