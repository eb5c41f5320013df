// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A temporary failure at the start does not disable IPv6 for good. Missing support is not
// tried all the time.
func TestIPv6FailsJustNow(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		after time.Duration // it is tried again
	}{"no memory": {unix.ENOMEM, 2 * time.Second}, "not there": {unix.EAFNOSUPPORT, 11 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			s, clk := newSpace(t), clocktesting.NewFakeClock(time.Unix(1000, 0))
			d, fails := s.dataplane(), true
			d.tables.Clock = clk
			try := d.tables.TryFamily
			d.tables.TryFamily = func(ctx context.Context, family byte) error {
				if fails && family == unix.NFPROTO_IPV6 {
					return tc.err
				}
				return try(ctx, family)
			}
			want := model.NewDesired()
			put(&want, "10.96.0.1:80/tcp", clusterIP("10.0.0.1:80"))
			put(&want, "[fd00:96::1]:80/tcp", clusterIP("[fd00::1]:80"))
			result := mustSync(t, d, want)
			if got := desiredtest.Unsupported(result); got != "IPv6 1 [[fd00:96::1]:80/tcp]: IPv6: "+tc.err.Error() {
				t.Errorf("unsupported: %s", got)
			}
			if transient := errors.Is(tc.err, unix.ENOMEM); transient != (result.NextLook > 0) || result.NextLook > 2*time.Second {
				t.Errorf("next look after %v", result.NextLook)
			}
			fails = false
			if got := mustSync(t, d, want); got.Operations != 0 || len(got.Unsupported) == 0 {
				t.Errorf("tried too early: %+v", got)
			}
			clk.Step(tc.after)
			if got := mustSync(t, d, want); got.Unsupported != nil || got.NextLook != 0 || !strings.Contains(s.Run("nft", "list", "table", "ip6", "fairlead"), "fd00:96::1") {
				t.Errorf("tried again: %+v", got)
			}
		})
	}
}

// Failures are counted with kube-proxy's metric; the end of the agent is none.
func TestFailuresAreCounted(t *testing.T) {
	d := newSpace(t).dataplane()
	if _, err := d.Apply(t.Context(), model.Delta{}); !errors.Is(err, dataplane.ErrNotSynced) {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := d.Sync(ended, mixed(), nil); err == nil {
		t.Error("no error")
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(d.failures)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if n := families[0].GetMetric()[0].GetCounter().GetValue(); n != 1 {
		t.Errorf("%v failures, want 1", n)
	}
}
