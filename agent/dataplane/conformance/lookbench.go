// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// BenchmarkLook measures how long one changed endpoint waits that comes while the mode reads
// 10,000 Services back, at ten moments of the reading in turn: until the reading has ended,
// and if it interrupts the reading.
func BenchmarkLook(b *testing.B, s Subject) {
	n := NewNode(b)
	n.options = s.Options
	if s.Prepare != nil {
		s.Prepare(n)
	}
	d := n.Open(s.Mode().Open)
	full := fullServices(10_000)
	states := [2]model.Desired{full, withEndpoint(full, "web-0", "10.127.0.1:8080")}
	deltas := [2]model.Delta{model.Diff(states[0], states[1]), model.Diff(states[1], states[0])}
	if _, err := d.Sync(b.Context(), states[0], nil); err != nil {
		b.Fatal(err)
	}
	now, whole := 0, time.Duration(0)
	// look returns how long a change waits that comes after a time.
	look := func(after time.Duration, interrupts bool) (waits time.Duration) {
		n.Run("sh", "-ec", othersCommit)
		reading, cancel := context.WithCancel(b.Context())
		ctx, came := b.Context(), make(chan time.Time, 1)
		if interrupts {
			ctx = dataplane.WithReading(ctx, reading)
		}
		time.AfterFunc(after, func() { came <- time.Now(); cancel() })
		result, err := d.Sync(ctx, states[now], nil)
		if !result.Interrupted {
			whole = result.Reading
		}
		moment := <-came
		if err == nil {
			_, err = d.Apply(b.Context(), deltas[now])
			waits, now = time.Since(moment), 1-now
		}
		if err != nil || result.Repaired > 0 {
			b.Fatalf("%+v, %v", result, err)
		}
		return waits
	}
	look(0, false)
	for name, interrupts := range map[string]bool{"waits": false, "interrupts": true} {
		b.Run(name, func(b *testing.B) {
			var all []time.Duration
			for i := 0; b.Loop(); i++ {
				all = append(all, look(whole*time.Duration(i%10)/10, interrupts))
			}
			slices.Sort(all)
			b.ReportMetric(float64(whole.Milliseconds()), "reading-ms")
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(all[len(all)-1].Microseconds())/1000, "max-ms")
		})
	}
}

// fullServices are n Services with ten endpoints, a node port, and an address of a load
// balancer with three source ranges.
func fullServices(n int) model.Desired {
	d := empty()
	for i := range n {
		var endpoints []string
		for j := range 10 {
			endpoints = append(endpoints, fmt.Sprintf("10.%d.%d.%d:8080", 128+j, i/250, i%250+1))
		}
		f := put(&d, fmt.Sprint("web-", i), virtualAddress(i)+":80/tcp", desiredtest.ForwardTo(model.MasqueradeUnlessPod, endpoints...))
		also(&d, f, fmt.Sprintf("nodeport:%d/tcp", 20000+i), model.KindNodePort)
		balancer := also(&d, f, fmt.Sprintf("198.18.%d.%d:80/tcp", i/250, i%250+1), model.KindLoadBalancer)
		balancer.Restricted = true
		balancer.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")}
	}
	return d
}
