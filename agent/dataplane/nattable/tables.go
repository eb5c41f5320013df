// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nattable has the tables of nftables with the frontends of Services: the modes
// NFTables and IPVS differ in the Target of a packet that a frontend takes.
//
// The table "fairlead" of each family has a constant number of chains and rules.
// Services are only elements of its maps. With the target DNAT:
//
//	services   { protocol . address . port : verdict }        goto cluster-<N>
//	endpoints  { protocol . address . port . number : address . port }
//	cluster-3  dnat to the endpoint with the number (random mod 3)
//
// There is one chain for each number N of endpoints that occurs, whoever has it.
// So a Service or an endpoint costs a few operations on elements, however many
// there are. What is to be refused or dropped is an element with that verdict.
//
// The endpoints are those of a Service's port, by the key of one of its frontends, see
// model.Frontend.PortKey. The other frontends lead to that key:
//
//	ports   { protocol . address . port : protocol . address . port . masquerading }
//	spread  { protocol . address . port : verdict }           goto port-<N>
//	port-3  the same as cluster-3, by the key in ports
//
// So they cost an element each, and a changed endpoint does not concern them.
//
// Where the external traffic policy makes a difference, traffic that comes neither from
// this node's Pods nor from the node itself is looked up in services-external and
// ports-external first. The latter leads to a second list of endpoints, the local one.
//
// A load balancer's address with source ranges is in the set restricted, and its
// ranges are elements of sets, one set for each length of a range that occurs.
// What comes from elsewhere is dropped before anything else is asked.
//
// With session affinity there is one chain for each number of endpoints and each
// timeout. It lets the kernel remember clients in a map, see affinity.go. That map
// is never read: it survives a restart of the agent and all repairs, but for the
// replacement of the whole table. A changed timeout takes effect for each client
// with its next connection.
//
// All decisions are made in nat chains, which see only the first packet of a
// connection: other packets cost nothing, and a change never touches an
// established connection.
package nattable

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TableName is the name of the table in each of the two families.
const TableName = "fairlead"

// Options are the parameters of New.
type Options struct {
	Client *nft.Client
	Target Target
	Log    logr.Logger

	// Addresses returns the node's addresses, those that belong to Services left out.
	Addresses func() ([]netip.Addr, error)

	Clock clock.PassiveClock // nil: that of the machine

	// TryFamily says whether the kernel can hold the table of a family. nil: it makes
	// one and deletes it.
	TryFamily func(ctx context.Context, family byte) error
}

// Tables are the tables of a node, one for each family that the kernel has. A change is
// made in two steps, so that the caller can bring in what a packet will need once the
// table has taken it: Plan or PlanDelta, then Commit.
type Tables struct {
	Options
	layouts []*layout // of the families that this kernel has; nil until probed
	noIPv6  error     // why IPv6 is not among them
	ipv6    dataplane.Retry

	last    *wanted               // what was programmed last; nil: unknown
	content map[*layout]*contents // of the tables, if last is known
	gen     nft.Generation        // when the content was read
	next    *planned
}

// New returns Tables.
func New(o Options) *Tables {
	t := &Tables{Options: o}
	if t.Clock == nil {
		t.Clock = clock.RealClock{}
	}
	if t.TryFamily == nil {
		t.TryFamily = t.tryFamily
	}
	return t
}

// planned is a change that is not made yet.
type planned struct {
	batches *batches
	after   *wanted
	repairs int // operations that undo what others have done
	reading time.Duration
}

// Found says what a Plan has found.
type Found struct {
	// Removed are the frontends that the table held and that are wanted no more,
	// with their firewall marks (0: none). It is known only when the table was
	// read.
	Removed map[model.FrontendKey]uint32

	// NodePorts are the addresses that node ports answered on by the table. It is
	// known in the same case.
	NodePorts map[netip.Addr]struct{}
}

// Plan plans to make the tables equal to desired. It reads them, unless nobody has
// changed anything since they were read.
func (t *Tables) Plan(ctx context.Context, desired model.Desired) (Found, error) {
	t.next = nil
	if err := t.prepare(ctx); err != nil {
		return Found{}, err
	}
	nodePorts, err := t.nodePorts(&desired.Node)
	if err != nil {
		return Found{}, err
	}
	want := &wanted{Desired: desired.Clone(), nodePorts: nodePorts} // the caller goes on changing its own
	gen, err := t.Client.Generation(ctx)
	if err != nil {
		return Found{}, err
	}
	if t.last != nil && t.gen.Is(gen) {
		delta := model.Diff(t.last.Desired, want.Desired)
		return Found{}, t.planChange(&delta, want)
	}
	return t.planWithKernel(ctx, want, gen)
}

// planWithKernel reads the tables and plans to change what differs.
func (t *Tables) planWithKernel(ctx context.Context, want *wanted, gen nft.Generation) (Found, error) {
	p := &planned{batches: newBatches(), after: want}
	found := Found{Removed: map[model.FrontendKey]uint32{}, NodePorts: map[netip.Addr]struct{}{}}
	content := map[*layout]*contents{}
	for _, l := range t.layouts {
		began := time.Now()
		s, err := l.read(ctx, t.Client)
		if err != nil {
			return found, err
		}
		p.reading += time.Since(began)
		if s.broken != "" {
			t.Log.Info("replace the table", "table", l.String(), "reason", s.broken)
		}
		if content[l], err = l.plan(p.batches, s, want); err != nil {
			return found, err
		}
		if t.last != nil {
			n, err := l.repairs(s, t.last, t.content[l])
			if err != nil {
				return found, err
			}
			p.repairs += n
		}
		for key, h := range s.frontends {
			if want.Frontends[key] == nil {
				found.Removed[key] = h.mark
			}
		}
		maps.Copy(found.NodePorts, s.addrs[l.nodePorts])
	}
	t.content, t.gen, t.next = content, gen, p
	t.last = nil // until it has succeeded
	return found, nil
}

// PlanDelta plans a change on top of what was committed last.
func (t *Tables) PlanDelta(delta model.Delta) error {
	t.next = nil
	if t.last == nil {
		return dataplane.ErrNotSynced
	}
	after := *t.last
	if delta.Node != nil {
		var err error
		if after.nodePorts, err = t.nodePorts(delta.Node); err != nil {
			t.last = nil
			return err
		}
	}
	delta.Apply(&after.Desired) // the maps are t.last's too, its settings are not
	return t.planChange(&delta, &after)
}

// planChange plans a change on top of what was programmed last.
func (t *Tables) planChange(delta *model.Delta, after *wanted) error {
	before := t.last
	t.last = nil // until it has succeeded
	p := &planned{batches: newBatches(), after: after}
	for _, l := range t.layouts {
		if err := l.planDelta(p.batches, t.content[l], delta, before, after); err != nil {
			return err
		}
	}
	t.next = p
	return nil
}

// Commit makes the planned change. Chains that it has left without users go in a batch
// of their own, for kernels that do not count a user off before the batch has ended;
// what is busy even then is tried again after the next change.
func (t *Tables) Commit(ctx context.Context) (dataplane.Result, error) {
	p := t.next
	if p == nil {
		return dataplane.Result{}, errors.New("nothing is planned")
	}
	t.last, t.next = nil, nil
	var stats dataplane.Result
	for _, b := range p.batches.inOrder() {
		if err := t.Client.Commit(ctx, b); err != nil {
			return stats, fmt.Errorf("change nftables: %w", err)
		}
		stats.Operations += b.Operations()
	}
	deleted, err := t.deleteUnused(ctx)
	if err != nil {
		return stats, err
	}
	stats.Operations += deleted
	t.last = p.after
	stats.Repaired, stats.Reading = min(p.repairs, stats.Operations), p.reading
	return stats, nil
}

// deleteUnused deletes the chains that have no users, and returns how many.
func (t *Tables) deleteUnused(ctx context.Context) (int, error) {
	b := nft.NewBatch()
	for l, c := range t.content {
		for _, unused := range c.unused() {
			b.DeleteChain(l.build(unused))
		}
	}
	if b.Operations() == 0 {
		return 0, nil
	}
	err := t.Client.Commit(ctx, b)
	if errors.Is(err, unix.EBUSY) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("delete unused chains: %w", err)
	}
	for _, c := range t.content {
		for _, unused := range c.unused() {
			delete(c.chains, unused)
		}
	}
	return b.Operations(), nil
}

// Forget makes the next Plan read the tables.
func (t *Tables) Forget() { t.last = nil }

// nodePorts returns the addresses that node ports answer on.
func (t *Tables) nodePorts(s *model.NodeSettings) (map[netip.Addr]struct{}, error) {
	if err := checkSettings(s); err != nil {
		return nil, err
	}
	return s.NodePortsOn(t.Addresses)
}

// wanted is what was planned or committed last, nil if nothing was.
func (t *Tables) wanted() *wanted {
	if t.next != nil {
		return t.next.after
	}
	return t.last
}

// Synced says whether it is known what the tables hold, so that PlanDelta works.
func (t *Tables) Synced() bool { return t.last != nil }

// Desired returns what was planned or committed last, for reading only.
func (t *Tables) Desired() model.Desired {
	if w := t.wanted(); w != nil {
		return w.Desired
	}
	return model.NewDesired()
}

// NodePorts returns the addresses that node ports answer on, after the planned change.
func (t *Tables) NodePorts() map[netip.Addr]struct{} {
	if w := t.wanted(); w != nil {
		return w.nodePorts
	}
	return nil
}

// Mark returns the firewall mark of a frontend after the planned change; 0: none.
func (t *Tables) Mark(key model.FrontendKey) uint32 {
	for l, content := range t.content {
		if l.ours(key.Address) {
			return content.frontends[key].mark
		}
	}
	return 0
}

// IPv6Error says why IPv6 is not programmed; nil if it is, or not known yet. An error
// that is not ErrUnsupported is tried again by a Plan, after IPv6Wait.
func (t *Tables) IPv6Error() error { return t.noIPv6 }

// IPv6Wait returns after which time a Plan tries IPv6 again; 0: not as long as it
// stays unsupported.
func (t *Tables) IPv6Wait() time.Duration {
	if t.noIPv6 == nil || errors.Is(t.noIPv6, dataplane.ErrUnsupported) {
		return 0
	}
	return max(1, t.ipv6.Wait(t.Clock.Now()))
}

// Watch calls changed after somebody else has touched the tables.
func (t *Tables) Watch(ctx context.Context, changed func()) error {
	return t.Client.Watch(ctx, Concerns, changed)
}

// Concerns says whether a change is of one of the tables, and somebody else's.
func Concerns(c nft.Change) bool { return !c.Own && c.Table == TableName }

// Close closes the client.
func (t *Tables) Close() error { return t.Client.Close() }
