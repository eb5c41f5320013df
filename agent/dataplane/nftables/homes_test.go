// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestPortKeyChangesHands connects all the time to the external address and the node
// port of a Service, while another Service takes its cluster IP and gives it back, and
// while the number of endpoints changes: none ends at the other Service, and none fails
// twice.
func TestPortKeyChangesHands(t *testing.T) {
	o, f := newTopology(t), families[0]
	s := f.services()
	vip, external, nodePort := join(s.cluster, "80")+"/tcp", join(s.cluster2, "80")+"/tcp", "nodeport:30080/tcp"
	a, b, other := join(f.podA, "8080"), join(f.podB, "8080"), join(f.remote, "8080")
	desired := func(contested bool, endpoints ...string) model.Desired {
		d := model.NewDesired()
		put(&d, vip, clusterIP(endpoints...))
		put(&d, external, forwardTo(model.MasqueradeAlways, endpoints...))
		put(&d, nodePort, forwardTo(model.MasqueradeAlways, endpoints...))
		shared := vip
		if contested {
			put(&d, vip, clusterIP(other))
			shared = ""
		}
		for _, key := range []string{external, nodePort} {
			stick(&d, key, shared, 0)
		}
		d.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr(f.node)}
		return d
	}
	d, now := o.node.dataplane(), desired(false, a, b)
	mustSync(t, d, now)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for _, to := range []string{join(s.cluster2, "80"), join(f.node, "30080")} {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// A lookup in the very moment in which the kernel replaces the element
				// may find neither the old nor the new one: that packet is repeated.
				got := o.client.ask("tcp", to, patience)
				if got == "refused" || got == "no answer" {
					got = o.client.ask("tcp", to, patience)
				}
				if !strings.HasPrefix(got, "pod-") {
					t.Errorf("%s: %s", to, got)
					return
				}
			}
		})
	}
	lists := [][]string{{a, b}, {b}, {a}}
	for i := range 300 {
		next := desired(i%2 == 0, lists[i%3]...)
		mustApply(t, d, model.Diff(now, next))
		now = next
	}
	close(stop)
	clients.Wait()
}
