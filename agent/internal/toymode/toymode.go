// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package toymode is a mode for tests only. It shows what a new mode needs: this package,
// and one line in the list of package modes.
package toymode

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Name is the mode's name. It is not in the API's enum.
const Name v1alpha1.ProxyMode = "Toy"

// Kernel is the fake kernel that the mode programs. It is safe for concurrent use.
type Kernel struct {
	mu      sync.Mutex
	desired model.Desired
	options dataplane.Options
}

// New returns an empty kernel.
func New() *Kernel { return &Kernel{desired: model.NewDesired()} }

// Frontends returns the number of frontends in the kernel, and the options they were
// programmed with.
func (k *Kernel) Frontends() (int, dataplane.Options) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.desired.Frontends), k.options
}

// Mode returns the mode that programs the kernel.
func (k *Kernel) Mode() dataplane.Mode {
	return dataplane.Mode{
		Name: Name, Kind: dataplane.NAT,
		Parse: func(spec v1alpha1.NodeRuleSetSpec) (dataplane.Options, error) {
			return "zone " + spec.Node.Zone, nil
		},
		Open: func(dataplane.Env) (dataplane.Dataplane, error) { return &toy{kernel: k}, nil },
		Collectors: []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairlead_agent_toy_frontends", Help: "Frontends of the toy."}, func() float64 { n, _ := k.Frontends(); return float64(n) })},
	}
}

// toy implements dataplane.Dataplane.
type toy struct {
	dataplane.NoHandover
	kernel  *Kernel
	leftOut dataplane.LeftOut
	synced  bool
}

var _ dataplane.Dataplane = (*toy)(nil)

func (t *toy) Probe(context.Context, dataplane.Options) (dataplane.Capability, error) {
	return dataplane.Capability{Variant: "of wood"}, nil
}

func (t *toy) Sync(_ context.Context, desired model.Desired, o dataplane.Options) (dataplane.Result, error) {
	t.kernel.mu.Lock()
	defer t.kernel.mu.Unlock()
	delta := model.Diff(t.kernel.desired, desired)
	t.synced, t.kernel.options, t.leftOut = true, o, dataplane.LeftOut{}
	return t.program(&delta), nil
}

func (t *toy) Apply(_ context.Context, delta model.Delta) (dataplane.Result, error) {
	if !t.synced {
		return dataplane.Result{}, dataplane.ErrNotSynced
	}
	t.kernel.mu.Lock()
	defer t.kernel.mu.Unlock()
	return t.program(&delta), nil
}

// program is called with the lock held.
func (t *toy) program(delta *model.Delta) dataplane.Result {
	delta.Apply(&t.kernel.desired)
	for _, c := range delta.Frontends {
		t.leftOut.NoIPv6(errors.New("a toy has no IPv6"), c.Key, c.New)
	}
	return dataplane.Result{Operations: len(delta.Frontends), NextLook: time.Hour, Unsupported: t.leftOut.Limitations()}
}

func (t *toy) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

func (t *toy) Cleanup(context.Context) error {
	t.kernel.mu.Lock()
	defer t.kernel.mu.Unlock()
	t.kernel.desired, t.synced = model.NewDesired(), false
	return nil
}

func (t *toy) Close() error { return nil }
