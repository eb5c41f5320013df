// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package toymode is a mode for tests only. It shows what a new mode needs: this package,
// and one line in the list of package modes. It works, and passes package conformance, but
// it leaves out most of what a Service may have; see cannot.
package toymode

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Name is the mode's name. It is not in the API's enum.
const Name v1alpha1.ProxyMode = "Toy"

// Mode returns the mode.
func Mode() dataplane.Mode {
	operations := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "fairlead_agent_toy_operations_total", Help: "Number of objects that the toy has added or deleted."})
	return dataplane.Mode{
		Name: Name, Kind: dataplane.NAT,
		Parse: func(spec v1alpha1.NodeRuleSetSpec) (dataplane.Options, error) {
			return "zone " + spec.Node.Zone, nil
		},
		Open: func(e dataplane.Env) (dataplane.Dataplane, error) {
			client, err := nft.Dial(e.NetNS)
			if err != nil {
				return nil, classify(err)
			}
			return &toy{client: client, operations: operations}, nil
		},
		Collectors: []prometheus.Collector{operations},
	}
}

func classify(err error) error {
	if nft.IsNoFamily(err) {
		return dataplane.Unsupported(err)
	}
	return err
}

// toy implements dataplane.Dataplane.
type toy struct {
	dataplane.NoHandover
	client     *nft.Client
	operations prometheus.Counter

	layout   layout         // of the last Sync that succeeded
	last     *model.Desired // what was programmed last; nil: unknown
	synced   bool           // the last Sync or Apply succeeded
	leftOut  dataplane.LeftOut
	released time.Time // since when a Proxy is active; zero: none is
}

var _ dataplane.Dataplane = (*toy)(nil)

// Probe makes a table that does nothing, and deletes it.
func (t *toy) Probe(ctx context.Context, _ dataplane.Options) (dataplane.Capability, error) {
	l, b := newLayout("toy-probe", "", true), nft.NewBatch()
	l.add(b)
	err := t.client.DeleteTable(ctx, l.table) // left over from a crash
	if err == nil {
		err = t.client.Commit(ctx, b)
	}
	if err == nil {
		err = t.client.DeleteTable(ctx, l.table)
	}
	return dataplane.Capability{Variant: "of wood"}, classify(err)
}

// Sync reads the table and changes the elements that differ. A table that has anything
// else than expected is replaced.
func (t *toy) Sync(ctx context.Context, desired model.Desired, o dataplane.Options) (dataplane.Result, error) {
	t.synced, t.released = false, time.Time{}
	zone, _ := o.(string)
	l := newLayout(tableName, zone, false)
	began := time.Now()
	held, err := l.read(ctx, t.client)
	if err != nil {
		return dataplane.Result{}, err
	}
	result, want, b := dataplane.Result{Reading: time.Since(began)}, elementsOf(desired), nft.NewBatch()
	known, damage := t.last != nil && l.comment == t.layout.comment, 0
	if known {
		damage = change(nft.NewBatch(), l.endpoints, held.elements, elementsOf(*t.last))
	}
	if !held.same {
		if held.exists {
			b.DeleteTable(l.table)
		}
		l.add(b)
	}
	change(b, l.endpoints, held.elements, want)
	if err := t.commit(ctx, b, &result); err != nil {
		return result, err
	}
	result.Repaired = min(damage, result.Operations)
	if known && !held.same {
		result.Repaired = result.Operations
	}
	last := desired.Clone()
	t.layout, t.last, t.synced, t.leftOut = l, &last, true, dataplane.LeftOut{}
	for key, f := range desired.Frontends {
		t.note(key, f)
	}
	result.Unsupported = t.limitations()
	return result, nil
}

// Apply changes the elements of the frontends of a delta.
func (t *toy) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	if !t.synced {
		return dataplane.Result{}, dataplane.ErrNotSynced
	}
	t.synced = false // until it has succeeded
	var result dataplane.Result
	b := nft.NewBatch()
	for _, c := range delta.Frontends {
		change(b, t.layout.endpoints, elements{}.put(c.Old), elements{}.put(c.New))
	}
	if err := t.commit(ctx, b, &result); err != nil {
		return result, err
	}
	for _, c := range delta.Frontends {
		t.note(c.Key, c.New)
	}
	delta.Apply(t.last)
	t.synced = true
	result.Unsupported = t.limitations()
	return result, nil
}

func (t *toy) commit(ctx context.Context, b *nft.Batch, result *dataplane.Result) error {
	if b.Operations() == 0 {
		return ctx.Err()
	}
	if err := t.client.Commit(ctx, b); err != nil {
		return err
	}
	result.Operations = b.Operations()
	t.operations.Add(float64(result.Operations))
	return nil
}

// note keeps whether a frontend is left out.
func (t *toy) note(key model.FrontendKey, f *model.Frontend) {
	t.leftOut.Forget(key)
	if f == nil {
		return
	}
	if reason, message := cannot(f); reason != "" {
		t.leftOut.Add(reason, message, key, f.Service)
	}
}

func (t *toy) limitations() []dataplane.Limitation {
	t.leftOut.Node(reasonMasquerade, errMasquerade)
	t.leftOut.Node(dataplane.ReasonLocalhost, nil)
	if t.last.Node.NodePortLocalhost {
		t.leftOut.Node(dataplane.ReasonLocalhost, errLocalhost)
	}
	return t.leftOut.Limitations()
}

// Watch notices changes of the table by others.
func (t *toy) Watch(ctx context.Context, changed func()) error {
	return t.client.Watch(ctx, func(c nft.Change) bool { return !c.Own && c.Table == tableName }, changed)
}

// Incoming makes the table without elements where there is none: the kernel must know the
// connections of a Proxy before it translates any.
func (t *toy) Incoming(ctx context.Context, from dataplane.Kind) error {
	l := newLayout(tableName, "", false)
	exists, _, err := nft.ReadTable(ctx, t.client, l.table)
	if from != dataplane.Proxy || exists || err != nil {
		return err
	}
	b := nft.NewBatch()
	l.add(b)
	return t.client.Commit(ctx, b)
}

// Released leaves the table without elements for a while when a Proxy is active.
func (t *toy) Released(ctx context.Context, to dataplane.Kind, _ model.Desired, _ dataplane.Options) (time.Duration, error) {
	if to != dataplane.Proxy {
		return 0, nil
	}
	if t.released.IsZero() {
		t.last, t.synced = nil, false
		l, b := newLayout(tableName, "", false), nft.NewBatch()
		exists, _, err := nft.ReadTable(ctx, t.client, l.table)
		if err != nil || !exists {
			return 0, err
		}
		b.DeleteTable(l.table)
		l.add(b)
		if err := t.client.Commit(ctx, b); err != nil {
			return 0, err
		}
		t.released = time.Now()
	}
	return max(0, dataplane.TrackingTime-time.Since(t.released)), nil
}

// Cleanup deletes the table.
func (t *toy) Cleanup(ctx context.Context) error {
	t.last, t.synced = nil, false
	return t.client.DeleteTable(ctx, newLayout(tableName, "", false).table)
}

func (t *toy) Close() error { return t.client.Close() }
