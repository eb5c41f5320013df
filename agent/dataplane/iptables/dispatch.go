// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// inlinePorts is the maximum number of ports of an address with one rule each. With more
// the address has a tree of ports.
const inlinePorts = 8

// entry is the next chain for the packets of a frontend.
type entry struct {
	chain   string
	comment string

	restricted bool // a node port; chainSources comes before
}

// dispatch leads packets to the chains of their frontends, in one view: with a tree of all
// addresses, and one of the node ports.
type dispatch struct {
	view      view
	v6        bool
	touch     touch
	addresses *tree[netip.Addr]
	nodePorts *ports
	byAddr    map[netip.Addr]*address
	refused   map[netip.Addr]struct{} // other ports of these are rejected
}

// address is the ports of an address.
type address struct {
	ports map[portKey]entry
	many  *ports // nil: there are few
}

// ports is a tree of ports.
type ports struct {
	tree *tree[portKey]
	to   map[portKey]entry
}

func newPorts(root string, to map[portKey]entry, touch touch) *ports {
	p := &ports{to: to}
	p.tree = newTree(root, prefixPorts, portDigits{}, func(k portKey) []string {
		to := p.to[k]
		if to.restricted {
			return []string{k.match() + " -j " + chainSources, to.rule("", k)}
		}
		return []string{to.rule("", k)}
	}, touch)
	return p
}

// rule returns the rule that leads a port's packets to its chain.
func (e entry) rule(destination string, k portKey) string {
	return fmt.Sprintf("%s%s -m comment --comment %q -g %s", destination, k.match(), e.comment, e.chain)
}

func newDispatch(v view, v6 bool, touch touch) *dispatch {
	d := &dispatch{view: v, v6: v6, touch: touch, byAddr: map[netip.Addr]*address{}, refused: map[netip.Addr]struct{}{}}
	d.addresses = newTree(rootAddresses[v], prefixAddress, addressDigits{v6, "-d"}, d.addressRules, touch)
	d.nodePorts = newPorts(rootNodePorts[v], map[portKey]entry{}, touch)
	return d
}

// set makes packets of a frontend go to an entry; nil removes the frontend.
func (d *dispatch) set(k model.FrontendKey, to *entry) {
	port := portKey{k.Protocol, k.Port}
	if k.IsNodePort() {
		d.nodePorts.set(port, to)
		return
	}
	a := d.byAddr[k.Address]
	if a == nil {
		if to == nil {
			return
		}
		a = &address{ports: map[portKey]entry{}}
		d.byAddr[k.Address] = a
		if _, refused := d.refused[k.Address]; !refused {
			d.addresses.add(k.Address)
		}
	}
	if to == nil {
		delete(a.ports, port)
	} else {
		a.ports[port] = *to
	}
	d.arrange(k.Address, a, port)
	_, refused := d.refused[k.Address]
	if len(a.ports) == 0 {
		delete(d.byAddr, k.Address)
	}
	if len(a.ports) == 0 && !refused {
		d.addresses.remove(k.Address)
	} else {
		d.addresses.update(k.Address)
	}
}

// arrange adds or removes the tree of ports of an address, after one of its ports has
// changed.
func (d *dispatch) arrange(at netip.Addr, a *address, port portKey) {
	switch many := len(a.ports) > inlinePorts; {
	case many && a.many == nil:
		root := prefixPorts + hash(fmt.Append(nil, at, " ", d.view))
		a.many = newPorts(root, map[portKey]entry{}, d.touch)
		for k, e := range a.ports {
			a.many.set(k, &e)
		}
	case many:
		if e, ok := a.ports[port]; ok {
			a.many.set(port, &e)
		} else {
			a.many.set(port, nil)
		}
	case a.many != nil:
		a.many.tree.close()
		a.many = nil
	}
}

func (p *ports) set(k portKey, to *entry) {
	_, known := p.to[k]
	switch {
	case to == nil && known:
		p.tree.remove(k)
		delete(p.to, k)
	case to == nil:
	default:
		p.to[k] = *to
		if known {
			p.tree.update(k)
		} else {
			p.tree.add(k)
		}
	}
}

// refuse says whether packets to other ports of an address are rejected.
func (d *dispatch) refuse(a netip.Addr, yes bool) {
	_, is := d.refused[a]
	if is == yes {
		return
	}
	inTree := d.byAddr[a] != nil
	switch {
	case yes:
		d.refused[a] = struct{}{}
		if !inTree {
			d.addresses.add(a)
		}
	default:
		delete(d.refused, a)
		if !inTree {
			d.addresses.remove(a)
		}
	}
	if inTree {
		d.addresses.update(a)
	}
}

// addressRules returns the rules of an address, in the chain that it is in.
func (d *dispatch) addressRules(a netip.Addr) []string {
	destination := "-d " + single(a) + " "
	var out []string
	if has := d.byAddr[a]; has != nil && has.many != nil {
		out = append(out, destination+"-j "+has.many.tree.root)
	} else if has != nil {
		for _, k := range slices.SortedFunc(maps.Keys(has.ports), portDigits{}.compare) {
			out = append(out, has.ports[k].rule(destination, k))
		}
	}
	if _, refused := d.refused[a]; refused {
		out = append(out, destination+"-g "+chainRefuse)
	}
	return out
}
