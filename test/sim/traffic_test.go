// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	slicePath = "/apis/proxy.fairlead.dev/v1alpha1/serviceruleslices/x"
	leasePath = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x"
)

// TestTraffic checks which requests fail a run, a time after controller-0/1 has written the Lease.
func TestTraffic(t *testing.T) {
	for name, c := range map[string]struct {
		after        time.Duration
		requests     int
		client       string
		method, path string
		want         string // in the failure; "": none
	}{
		"a leader":                        {12 * time.Second, 1, "controller-0/1", http.MethodPatch, slicePath, ""},
		"a leader that cannot renew":      {14 * time.Second, 1, "controller-0/1", http.MethodPatch, slicePath, "works on without the Lease"},
		"another replica":                 {time.Second, 1, "controller-1/1", http.MethodDelete, slicePath, "works on without the Lease"},
		"another replica reads":           {time.Second, 1, "controller-1/1", http.MethodGet, slicePath, ""},
		"another replica takes the Lease": {20 * time.Second, 1, "controller-1/1", http.MethodPut, leasePath, ""},
		"an agent":                        {20 * time.Second, 1, "node-0/1", http.MethodPatch, slicePath, ""},
		"many requests":                   {time.Second, maxRequests, "node-0/1", http.MethodGet, slicePath, ""},
		"too many requests":               {time.Second, maxRequests + 1, "node-0/1", http.MethodGet, slicePath, fmt.Sprint(maxRequests+1, " node-0/1 GET")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Minute)
				var failure string
				traffic := newTraffic(func(format string, args ...any) { failure = fmt.Sprintf(format, args...) })
				traffic.leads("controller-0/1")
				time.Sleep(c.after)
				for range c.requests {
					traffic.admit(c.client, c.method, c.path)
				}
				if !strings.Contains(failure, c.want) || c.want == "" && failure != "" {
					t.Errorf("failure %q, want %q", failure, c.want)
				}
				_, refused := traffic.admit("node-1/1", http.MethodPatch, slicePath)
				if tooMany := c.requests > maxRequests; refused != tooMany {
					t.Errorf("a write is refused: %t, want %t", refused, tooMany)
				}
			})
		})
	}
}

// TestTrafficTakesTime checks that writes take time once there are many within a second.
func TestTrafficTakesTime(t *testing.T) {
	traffic := newTraffic(t.Errorf)
	pause := func(method string) time.Duration {
		d, _ := traffic.admit("node-0/1", method, slicePath)
		return d
	}
	for range fastRequests {
		if d := pause(http.MethodPatch); d != 0 {
			t.Fatalf("a write takes %s", d)
		}
	}
	if d := pause(http.MethodPatch); d != slowWrite {
		t.Errorf("a write after %d takes %s", fastRequests, d)
	}
	if d := pause(http.MethodGet); d != 0 {
		t.Errorf("a read takes %s", d)
	}
	traffic.begin()
	if d := pause(http.MethodPatch); d != 0 {
		t.Errorf("a write in another second takes %s", d)
	}
}
