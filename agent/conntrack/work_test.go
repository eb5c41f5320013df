// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Work that is put together loses nothing, in any order.
func TestWorkAddsUp(t *testing.T) {
	a, b := frontend(model.UDP, vip).Key, frontend(model.UDP, nodePort).Key
	one := work{frontends: map[model.FrontendKey]bool{a: true, b: false}}
	other := work{everything: true, frontends: map[model.FrontendKey]bool{a: false}}
	want := work{everything: true, frontends: map[model.FrontendKey]bool{a: true, b: false}}
	for name, order := range map[string][]work{"one": {one, other}, "the other": {other, one}} {
		got := newWork()
		for _, w := range order {
			got.add(w)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(work{}), cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); diff != "" {
			t.Errorf("%s first (-want +got):\n%s", name, diff)
		}
	}
}

// unwilling is a kernel that deletes nothing.
type unwilling struct{ *memory }

func (unwilling) Delete(conntrack.Entry) (bool, error) { return false, errBroken }

// An entry that cannot be deleted is a failure, and those after it are tried nevertheless.
func TestEntriesThatStay(t *testing.T) {
	m := &memory{entries: []conntrack.Entry{flow("one", model.UDP, vip, podA), flow("two", model.UDP, vip, podA)}}
	c := newCleaner(m, func() {})
	c.kernel.Table = unwilling{m}
	c.Change(model.Diff(model.NewDesired(), desired(frontend(model.UDP, vip, podB))))
	c.Programmed(false)
	q := c.queues[model.UDP]
	if _, err := c.look(t.Context(), q.protocol, q.take()); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
}

// A flow that is older than its frontend may come back in the other direction, while its entry
// is deleted: what it belongs to is looked at again.
func TestOlderFlowsAreLookedAtAgain(t *testing.T) {
	m := &memory{entries: []conntrack.Entry{flow("older", model.UDP, vip, vip)}}
	c := newCleaner(m, func() {})
	f := frontend(model.UDP, vip, podA)
	c.Change(model.Diff(model.NewDesired(), desired(f)))
	c.Programmed(false)
	q := c.queues[model.UDP]
	again, err := c.look(t.Context(), q.protocol, q.take())
	if older, ok := again.frontends[f.Key]; err != nil || !ok || !older || len(m.left()) > 0 {
		t.Errorf("%v: again %+v, left %v", err, again, m.left())
	}
}

// Node ports that answer on another address are those of other flows.
func TestNodePortAddressesChange(t *testing.T) {
	m := &memory{entries: []conntrack.Entry{flow("older", model.UDP, nodeIP, nodeIP), flow("another machine's", model.UDP, "192.0.2.1:30053", "192.0.2.1:30053")}}
	c := newCleaner(m, func() {})
	before := desired(frontend(model.UDP, nodePort, podA))
	before.Node.NodePortAddresses = nil
	c.Change(model.Diff(model.NewDesired(), before))
	c.settle(t, true)
	if len(m.left()) != 2 {
		t.Fatalf("left before the change: %v", m.left())
	}
	c.Change(model.Diff(before, desired(frontend(model.UDP, nodePort, podA))))
	c.settle(t, false)
	if diff := cmp.Diff([]string{"another machine's"}, m.left()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
