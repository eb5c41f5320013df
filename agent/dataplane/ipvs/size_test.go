// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// sized is a frontend of a Service with some endpoints.
func sized(service, at string, kind model.Kind, endpoints int) *model.Frontend {
	list := make([]string, endpoints)
	for i := range list {
		list[i] = fmt.Sprintf("10.1.0.%d:80", i+1)
	}
	out := clusterIP(at, model.TCP, list...)
	out.Kind, out.Service.Name = kind, service
	return out
}

// reals returns the number of real servers of each virtual server.
func (n *node) reals() (out []string) {
	for key, s := range n.virtual {
		out = append(out, fmt.Sprintf("%s %d", key, len(s.reals)))
	}
	slices.Sort(out)
	return out
}

// The virtual servers of a Service use equal parts of its endpoints, so that together they
// have at most a number. It is reported. Other Services use all.
func TestSize(t *testing.T) {
	desired := func(endpoints int, more ...*model.Frontend) model.Desired {
		d := desiredOf(append(more, sized("other", "10.96.0.1:80", model.KindClusterIP, 20),
			sized("large", "10.96.0.9:80", model.KindClusterIP, endpoints), sized("large", "0.0.0.0:30080", model.KindNodePort, endpoints))...)
		d.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2"), addr("192.168.1.2")}
		return d
	}
	n := newNode(t, "192.168.0.2", "192.168.1.2")
	n.d.limits.sizes.most = 40
	external := sized("large", "192.0.2.8:80", model.KindExternalIP, 12)
	more := sized("large", "192.0.2.9:80", model.KindExternalIP, 12)
	for i, step := range []struct {
		desired model.Desired
		sync    bool
		want    []string
		limited int
	}{
		{desired(10), true, []string{"10.96.0.9:80/tcp 10", "192.168.0.2:30080/tcp 10", "192.168.1.2:30080/tcp 10"}, 0},
		{desired(12), false, []string{"10.96.0.9:80/tcp 10", "192.168.0.2:30080/tcp 10", "192.168.1.2:30080/tcp 10"}, 2},
		{desired(12, external), false, []string{"10.96.0.9:80/tcp 10", "192.0.2.8:80/tcp 10", "192.168.0.2:30080/tcp 10", "192.168.1.2:30080/tcp 10"}, 3},
		{desired(12, external, more), false, []string{"10.96.0.9:80/tcp 5", "192.0.2.8:80/tcp 5", "192.0.2.9:80/tcp 5", "192.168.0.2:30080/tcp 5", "192.168.1.2:30080/tcp 5"}, 4},
		{desired(12, external), true, []string{"10.96.0.9:80/tcp 10", "192.0.2.8:80/tcp 10", "192.168.0.2:30080/tcp 10", "192.168.1.2:30080/tcp 10"}, 3},
		{desired(9), false, []string{"10.96.0.9:80/tcp 9", "192.168.0.2:30080/tcp 9", "192.168.1.2:30080/tcp 9"}, 0},
	} {
		do := n.apply
		if step.sync {
			do = n.sync
		}
		stats := do(step.desired)
		if diff := cmp.Diff(append([]string{"10.96.0.1:80/tcp 20"}, step.want...), n.reals()); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		limited := 0
		for _, l := range stats.Unsupported {
			if l.Reason == dataplane.ReasonEndpoints {
				limited = l.Count
			}
		}
		if limited != step.limited {
			t.Errorf("step %d: %d frontends are limited, want %d", i, limited, step.limited)
		}
	}
}

// Which endpoints are used does not depend on the order of changes: after each delta a new
// agent finds nothing to do.
func TestSizeIsStable(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			n := newNode(t, "192.168.0.2")
			n.o.Drain = 0
			most := 16 + r.IntN(40)
			n.d.limits.sizes.most = most
			next := func() model.Desired {
				var list []*model.Frontend
				for i := range 16 {
					at, kind := fmt.Sprintf("192.0.2.%d:%d", i+1, 80+i), model.KindExternalIP
					if i%5 == 0 {
						at, kind = fmt.Sprintf("0.0.0.0:%d", 30000+i), model.KindNodePort
					}
					if n := r.IntN(6); n > 0 {
						f := sized([]string{"a", "b"}[r.IntN(2)], at, kind, 3*n)
						if r.IntN(3) == 0 {
							f.External.Endpoints = f.External.Endpoints[:n]
						}
						list = append(list, f)
					}
				}
				d := desiredOf(list...)
				d.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2")}
				return d
			}
			n.sync(next())
			for range 20 {
				d := next()
				result := n.apply(d)
				total := map[string]int{}
				for key, s := range n.virtual {
					if f := frontendOf(&d, key); f != nil {
						total[f.Service.Name] += len(s.reals)
					}
				}
				for name, n := range total {
					if n > most {
						t.Errorf("%d real servers of the Service %s", n, name)
					}
				}
				n.restart()
				n.d.limits.sizes.most = most
				again := n.sync(d)
				if again.Operations > 0 {
					t.Errorf("a new agent did %q", n.steps)
				}
				if diff := cmp.Diff(limitedFrontends(again), limitedFrontends(result)); diff != "" {
					t.Errorf("limitations (-new agent +Apply):\n%s", diff)
				}
			}
		})
	}
}

func limitedFrontends(r dataplane.Result) map[dataplane.Reason]int {
	out := map[dataplane.Reason]int{}
	for _, l := range r.Unsupported {
		out[l.Reason] = l.Count
	}
	return out
}

// TestSmallServicesAreNotResized checks that a Service that uses all of its endpoints costs no
// search through all frontends, however many virtual servers it gets or loses.
func TestSmallServicesAreNotResized(t *testing.T) {
	for name, c := range map[string]struct {
		endpoints int
		want      bool
	}{"all are used": {5, false}, "some are used": {6, true}} {
		t.Run(name, func(t *testing.T) {
			s := sizes{most: 10}
			first, second := sized("web", "10.96.0.9:80", model.KindClusterIP, c.endpoints), sized("web", "192.0.2.8:80", model.KindExternalIP, c.endpoints)
			s.count(map[model.FrontendKey]*model.Frontend{first.Key: first})
			added, removed := model.Change{Key: second.Key, New: second}, model.Change{Key: second.Key, Old: second}
			for _, change := range []model.Change{added, removed} {
				if got := len(s.change([]model.Change{change})) > 0; got != c.want {
					t.Errorf("%v: resized: %v, want %v", change, got, c.want)
				}
			}
		})
	}
}
