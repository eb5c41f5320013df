// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nattable provides the nftables tables with the frontends of Services. The modes
// NFTables and IPVS differ in the Target of a packet to a frontend.
//
// The table "fairlead" of each family has a constant number of chains and rules.
// Services are only elements of its maps. With the target DNAT:
//
//	services   { protocol . address . port : verdict }        goto cluster-<N>
//	endpoints  { protocol . address . port . number : address . port }
//	cluster-3  dnat to the endpoint with the number (random mod 3)
//
// There is one chain for each number N of endpoints in use, shared by all frontends with
// that number. So a Service or an endpoint costs a few operations on elements, however
// many there are. A frontend that rejects or drops is an element with that verdict.
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
// If the external traffic policy matters, traffic from neither this node's Pods nor the
// node itself is looked up in services-external and ports-external first. The latter leads
// to a second list of endpoints, the local one.
//
// A load balancer IP with source ranges is in the set restricted, and its ranges are
// elements of sets, one set for each length in use. Packets from other sources are dropped
// before any other lookup.
//
// With session affinity there is one chain for each number of endpoints, timeout and group
// of namespaces.
// It lets the kernel remember clients in a map, see affinity.go. That map is never read:
// it survives a restart of the agent and all repairs, except the replacement of the whole
// table. A changed timeout applies to a client with its next connection.
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

	// Addresses returns the node's addresses, without those of Services.
	Addresses func() ([]netip.Addr, error)

	Clock clock.PassiveClock // nil: the system clock

	// BatchSize is the number of operations after which a batch ends as soon as it may; 0
	// is 16,384.
	BatchSize int

	// TryFamily says whether the kernel can hold the table of a family. nil: add one and
	// delete it.
	TryFamily func(ctx context.Context, family byte) error
}

// Tables are the tables of a node, one for each family that the kernel supports. A change
// is made in two steps, so that the caller can first add what packets need after the
// change: Plan or PlanDelta, then Commit.
type Tables struct {
	Options
	layouts []*layout // of the supported families; nil until probed
	noIPv6  error     // why IPv6 is unsupported
	ipv6    dataplane.Retry

	last    *wanted               // what was programmed last; nil: unknown
	ours    *wanted               // if last is unknown: what the tables hold without changes by others; nil: unknown
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
	if t.BatchSize == 0 {
		t.BatchSize = batchSize
	}
	if t.TryFamily == nil {
		t.TryFamily = t.tryFamily
	}
	return t
}

// planned is a change that is not committed yet.
type planned struct {
	batches *batches
	after   *wanted
	before  *wanted     // what the tables hold without changes by others; nil: unknown
	undo    model.Delta // of before, whose maps are those of after
	repairs int         // operations that undo changes by others
	reading time.Duration

	interrupted bool // the reading
}

// Found is what Plan found.
type Found struct {
	// Removed are the frontends that the table held and that are no longer wanted, with
	// their firewall marks (0: none). It is set only if the table was read.
	Removed map[model.FrontendKey]uint32

	// NodePorts are the addresses that node ports answered on in the table. It is set in
	// the same case.
	NodePorts map[netip.Addr]struct{}
}

// Plan plans the change to the desired state. It reads the tables, unless they are
// unchanged since the last read. If their content is known, the reading may be interrupted,
// see dataplane.WithReading: then it is left for the next Plan.
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
		return Found{}, t.planChange(&delta, &planned{after: want})
	}
	return t.planWithKernel(ctx, want, gen)
}

// planWithKernel reads the tables and plans to change what differs.
func (t *Tables) planWithKernel(ctx context.Context, want *wanted, gen nft.Generation) (Found, error) {
	p := &planned{batches: newBatches(t.BatchSize), after: want, before: t.last}
	reading := ctx
	if t.last != nil {
		reading = dataplane.Reading(ctx)
	} else {
		p.before = t.ours
	}
	found := Found{Removed: map[model.FrontendKey]uint32{}, NodePorts: map[netip.Addr]struct{}{}}
	content := map[*layout]*contents{}
	for _, l := range t.layouts {
		var err error
		content[l], err = p.planTable(reading, t, l, &found)
		if dataplane.Interrupted(ctx, reading) {
			delta := model.Diff(t.last.Desired, want.Desired)
			return Found{}, t.planChange(&delta, &planned{after: want, reading: p.reading, interrupted: true})
		}
		if err != nil {
			return found, err
		}
	}
	t.content, t.gen, t.next = content, gen, p
	t.last, t.ours = nil, nil // until Commit succeeds
	return found, nil
}

// planTable reads a table and plans to change what differs. It returns the contents after
// that, and gives up when reading ends.
func (p *planned) planTable(reading context.Context, t *Tables, l *layout, found *Found) (*contents, error) {
	began := time.Now()
	s, err := l.readAside(reading, t.Client)
	p.reading += time.Since(began)
	if err != nil {
		return nil, err
	}
	if s.broken != "" {
		t.Log.Info("replace the table", "table", l.String(), "reason", s.broken)
	}
	content, err := l.plan(p.batches, s, p.after)
	if err != nil {
		return nil, err
	}
	if err := reading.Err(); err != nil {
		return nil, err // to plan takes half as long as to read
	}
	if p.before != nil {
		n, err := l.repairs(s, p.before, t.content[l])
		if err != nil {
			return nil, err
		}
		p.repairs += n
	}
	found.note(l, s, p.after)
	return content, nil
}

// note adds what a table holds.
func (f *Found) note(l *layout, s *snapshot, want *wanted) {
	for key, h := range s.frontends {
		if want.Frontends[key] == nil {
			f.Removed[key] = h.mark
		}
	}
	maps.Copy(f.NodePorts, s.addrs[l.nodePorts])
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
			t.Forget()
			return err
		}
	}
	undo := delta.Inverse(after.Desired)
	delta.Apply(&after.Desired) // the maps are t.last's too, its settings are not
	return t.planChange(&delta, &planned{after: &after, undo: undo})
}

// planChange plans a change on top of what was programmed last.
func (t *Tables) planChange(delta *model.Delta, p *planned) error {
	p.batches, p.before = newBatches(t.BatchSize), t.last
	t.last = nil // until Commit succeeds
	for _, l := range t.layouts {
		if err := l.planDelta(p.batches, t.content[l], delta, p.before, p.after); err != nil {
			withoutEffect(t, p)
			return err
		}
	}
	t.next = p
	return nil
}

// withoutEffect notes that a planned change has failed as a whole: what differs from the
// state before it has another program changed.
func withoutEffect(t *Tables, p *planned) {
	if t.ours = p.before; t.ours != nil {
		p.undo.Apply(&t.ours.Desired)
	}
}

// Commit makes the planned change. Chains that it leaves without users are deleted in a
// separate batch, for kernels that release a user only at the end of a batch. A chain that
// is still busy is tried again after the next change.
func (t *Tables) Commit(ctx context.Context) (dataplane.Result, error) {
	p := t.next
	if p == nil {
		return dataplane.Result{}, errors.New("nothing is planned")
	}
	t.last, t.next = nil, nil
	var stats dataplane.Result
	var err error
	if stats.Operations, err = t.Client.CommitEach(ctx, p.batches.inOrder()); err != nil {
		if stats.Operations == 0 {
			withoutEffect(t, p)
		}
		return stats, fmt.Errorf("change nftables: %w", err)
	}
	deleted, err := t.deleteUnused(ctx)
	if err != nil {
		t.ours = p.after
		return stats, err
	}
	stats.Operations += deleted
	t.last = p.after
	stats.Repaired, stats.Reading, stats.Interrupted = min(p.repairs, stats.Operations), p.reading, p.interrupted
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
func (t *Tables) Forget() {
	if t.last != nil {
		t.last, t.ours = nil, t.last
	}
}

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

// Synced says whether the content of the tables is known, so that PlanDelta works.
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

// IPv6Error returns why IPv6 is not programmed; nil if it is, or if unknown. An error that
// is not ErrUnsupported is tried again by a Plan, after IPv6Wait.
func (t *Tables) IPv6Error() error { return t.noIPv6 }

// IPv6Wait returns the time until a Plan tries IPv6 again; 0: not as long as it stays
// unsupported.
func (t *Tables) IPv6Wait() time.Duration {
	if t.noIPv6 == nil || errors.Is(t.noIPv6, dataplane.ErrUnsupported) {
		return 0
	}
	return max(1, t.ipv6.Wait(t.Clock.Now()))
}

// Watch calls changed after others have changed the tables.
func (t *Tables) Watch(ctx context.Context, changed func()) error {
	return t.Client.Watch(ctx, Concerns, changed)
}

// Concerns says whether a change is one by others to one of the tables.
func Concerns(c nft.Change) bool { return !c.Own && c.Table == TableName }

// Close closes the client.
func (t *Tables) Close() error { return t.Client.Close() }
