// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// greedy opens connections until it is refused. Its holders differ where i counts.
func greedy(c *Connections, at func(i int) holder) (open []*connection, why error) {
	for i := 0; ; i++ {
		h := at(i)
		n := &connection{client: netip.AddrPortFrom(h.source, uint16(1+i)), local: netip.MustParseAddrPort("10.96.0.1:80")}
		if !c.admit(n, h.service) {
			for _, why = range []error{errFull, errSource, errService} {
				if last, yes := c.refusedFor(why); yes && last.holder == newHolder(h.service, h.source) {
					return open, why
				}
			}
			return open, nil
		}
		open = append(open, n)
	}
}

// TestShares checks how many connections a greedy client or Service gets, of 448 descriptors, and
// that others get some all the same.
func TestShares(t *testing.T) {
	service := func(i int) model.ServiceID { return model.ServiceID{Namespace: "default", Name: fmt.Sprint(i)} }
	source := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}) }
	families := func(i int) model.ServiceID {
		id := service(0)
		id.Family = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}[i%2]
		return id
	}
	for name, tt := range map[string]struct {
		greedy []func(i int) holder
		want   []int
		why    error
	}{
		"a client, one Service":    {[]func(int) holder{func(int) holder { return holder{service(0), source(0)} }}, []int{75}, errSource},
		"a client, all Services":   {[]func(int) holder{func(i int) holder { return holder{service(i), source(0)} }}, []int{75}, errSource},
		"a Service, all clients":   {[]func(int) holder{func(i int) holder { return holder{service(0), source(i)} }}, []int{112}, errService},
		"a Service, both families": {[]func(int) holder{func(i int) holder { return holder{families(i), source(i)} }}, []int{112}, errService},
		"two clients": {[]func(int) holder{func(i int) holder { return holder{service(i), source(0)} },
			func(i int) holder { return holder{service(1000 + i), source(1)} }}, []int{75, 50}, errSource},
		"everyone": {[]func(int) holder{func(i int) holder { return holder{service(i), source(i)} }}, []int{224}, errFull},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := newTestConnections(512)
			var got []int
			var open []*connection
			var why error
			for _, at := range tt.greedy {
				var more []*connection
				more, why = greedy(c, at)
				open, got = append(open, more...), append(got, len(more))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(why, tt.why) {
				t.Errorf("connections (-want +got):\n%s%v, want %v", diff, why, tt.why)
			}
			others, _ := greedy(c, func(i int) holder { return holder{service(5000 + i), source(5000 + i)} })
			if len(others) < 50 && !errors.Is(tt.why, errFull) {
				t.Errorf("others get %d connections", len(others))
			}
			for _, n := range append(open, others...) {
				c.release(n)
			}
			if len(c.shares.services)+len(c.shares.sources) > 0 || c.room() != 448 {
				t.Errorf("left: %+v, room for %d", c.shares, c.room())
			}
		})
	}
}
