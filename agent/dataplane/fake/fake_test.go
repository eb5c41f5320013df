// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var (
	one = netip.MustParseAddr("10.96.0.1")
	two = netip.MustParseAddr("10.96.0.2")
)

func desired(ips ...netip.Addr) model.Desired {
	d := model.NewDesired()
	for _, ip := range ips {
		d.ClusterIPs[ip] = struct{}{}
	}
	return d
}

func addresses(d model.Desired) []string {
	var out []string
	for _, a := range []netip.Addr{one, two} {
		if _, ok := d.ClusterIPs[a]; ok {
			out = append(out, a.String())
		}
	}
	return out
}

func TestSyncAndApply(t *testing.T) {
	ctx, d := context.Background(), New()
	if _, err := d.Apply(ctx, model.Delta{}); !errors.Is(err, dataplane.ErrNotSynced) {
		t.Errorf("Apply before Sync: %v, want ErrNotSynced", err)
	}
	stats, err := d.Sync(ctx, desired(one), nil)
	if diff := cmp.Diff(dataplane.Result{Operations: 1}, stats); diff != "" || err != nil {
		t.Errorf("Sync: %v %s", err, diff)
	}
	delta := model.Diff(desired(one), desired(two))
	stats, err = d.Apply(ctx, delta)
	if diff := cmp.Diff(dataplane.Result{Operations: 2}, stats); diff != "" || err != nil {
		t.Errorf("Apply: %v %s", err, diff)
	}
	if diff := cmp.Diff([]string{"10.96.0.2"}, addresses(d.Kernel())); diff != "" {
		t.Error(diff)
	}
	if d.Count(Apply) != 2 || len(d.Calls()) != 3 {
		t.Errorf("calls: %+v", d.Calls())
	}
}

func TestDriftIsRepaired(t *testing.T) {
	ctx, d := context.Background(), New()
	if _, err := d.Sync(ctx, desired(one), nil); err != nil {
		t.Fatal(err)
	}
	d.Drift(func(kernel *model.Desired) { delete(kernel.ClusterIPs, one) })
	if len(d.Kernel().ClusterIPs) != 0 {
		t.Error("drift did not reach the kernel")
	}
	stats, err := d.Sync(ctx, desired(one), nil)
	if diff := cmp.Diff(dataplane.Result{Operations: 1, Repaired: 1}, stats); diff != "" || err != nil {
		t.Errorf("Sync: %v %s", err, diff)
	}
}

func TestFail(t *testing.T) {
	ctx, d, broken := context.Background(), New(), errors.New("broken")
	if _, err := d.Sync(ctx, desired(), nil); err != nil {
		t.Fatal(err)
	}
	d.Fail(Apply, nil, broken)
	for i, want := range []error{nil, broken, dataplane.ErrNotSynced} {
		if _, err := d.Apply(ctx, model.Delta{}); !errors.Is(err, want) {
			t.Errorf("call %d: %v, want %v", i, err, want)
		}
	}
	if _, err := d.Sync(ctx, desired(), nil); err != nil {
		t.Error(err)
	}
	if _, err := d.Apply(ctx, model.Delta{}); err != nil {
		t.Error(err)
	}
}
