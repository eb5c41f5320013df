// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestApplyEqualsSync checks, with random changes, that a sequence of Apply has the same
// result as a Sync from an empty kernel.
func TestApplyEqualsSync(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			now := randomDesired(r)
			d := newSpace(t).dataplane()
			mustSync(t, d, now)
			for range 30 {
				next := randomDesired(r)
				mustApply(t, d, model.Diff(now, next))
				now = next
			}
			fresh := newSpace(t).dataplane()
			mustSync(t, fresh, now)
			if diff := cmp.Diff(fresh.dumpForTest(t), d.dumpForTest(t)); diff != "" {
				t.Error("Apply (+) is not Sync (-):", diff)
			}
			if stats := mustSync(t, d, now); stats.Operations != 0 {
				t.Errorf("Sync after Apply: %+v", stats)
			}
		})
	}
}

func randomDesired(r *rand.Rand) model.Desired {
	d := model.NewDesired()
	for i := range 12 {
		v6 := i%3 == 0
		key := fmt.Sprintf("10.96.0.%d:80/tcp", i+1)
		switch {
		case i%2 == 0 && v6:
			key = fmt.Sprintf("nodeport6:%d/udp", 30000+i)
		case i%2 == 0:
			key = fmt.Sprintf("nodeport:%d/udp", 30000+i)
		case v6:
			key = fmt.Sprintf("[fd00::%d]:80/tcp", i+1)
		}
		if r.IntN(4) > 0 {
			put(&d, key, randomBackend(r, v6), randomBackend(r, v6))
			if r.IntN(2) == 0 {
				stick(&d, key, []string{"", key}[r.IntN(2)], 10*int32(r.IntN(3)))
			}
			if i%2 == 1 && r.IntN(2) == 0 {
				restrict(&d, key, randomSources(r, v6)...)
			}
		}
	}
	for i := range 4 {
		randomPort(r, &d, i)
	}
	for i := range 8 {
		a := netip.AddrFrom4([4]byte{10, 96, 0, byte(i)})
		if r.IntN(2) == 0 {
			d.ClusterIPs[a] = struct{}{}
		}
		if r.IntN(2) == 0 {
			d.LocalEndpoints[a] = struct{}{}
		}
		if r.IntN(4) == 0 {
			d.Node.NodePortAddresses = append(d.Node.NodePortAddresses, a)
		}
	}
	if d.Node.NodePortsRestricted = r.IntN(2) == 0; d.Node.NodePortsRestricted {
		for _, source := range append(randomSources(r, false), randomSources(r, true)...) {
			d.Node.NodePortSources = append(d.Node.NodePortSources, netip.MustParsePrefix(source))
		}
	}
	for key, f := range d.Frontends {
		if key.IsNodePort() {
			f.Restricted = d.Node.NodePortsRestricted && r.IntN(4) > 0
		}
	}
	if r.IntN(2) == 0 {
		d.Node.PodInterface, d.Node.PodInterfacePrefix = "cni", r.IntN(2) == 0
	}
	return d
}

func randomSources(r *rand.Rand, v6 bool) (out []string) {
	all := map[bool][]string{
		false: {"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/25", "192.0.2.1/32"},
		true:  {"::/0", "fd00::/8", "fd01::/16", "2001:db8::/65", "2001:db8::1/128"},
	}[v6]
	for _, s := range all {
		if r.IntN(3) == 0 {
			out = append(out, s)
		}
	}
	return out
}

func randomBackend(r *rand.Rand, v6 bool) model.Backend {
	if r.IntN(5) == 0 {
		return []model.Backend{rejected, dropped}[r.IntN(2)]
	}
	var endpoints []string
	for i := range 6 {
		if r.IntN(2) == 0 || i == 5 && endpoints == nil {
			endpoints = append(endpoints, map[bool]string{false: fmt.Sprintf("10.244.0.%d:80", i), true: fmt.Sprintf("[fd00:244::%d]:80", i)}[v6])
		}
	}
	kinds := []model.Masquerade{model.MasqueradeNever, model.MasqueradeUnlessPod, model.MasqueradeAlways}
	return leadTo(kinds[r.IntN(3)], endpoints...)
}

// randomPort adds the i-th port of a Service, with frontends that share its endpoints;
// or none of them does, because another Service has the port's key.
func randomPort(r *rand.Rand, d *model.Desired, i int) {
	v6, protocol := i%2 == 0, "/tcp"
	keys := []string{fmt.Sprintf("10.97.0.%d:80", i), fmt.Sprintf("198.18.0.%d:80", i), fmt.Sprintf("198.18.1.%d:80", i), fmt.Sprintf("nodeport:%d", 31000+i)}
	if v6 {
		keys = []string{fmt.Sprintf("[fd00:97::%d]:80", i), fmt.Sprintf("[fd00:18::%d]:80", i), fmt.Sprintf("[fd00:18:1::%d]:80", i), fmt.Sprintf("nodeport6:%d", 31000+i)}
	}
	home, contested := keys[0]+protocol, r.IntN(4) == 0
	seconds := 10 * int32(r.IntN(3))
	cluster, local := randomBackend(r, v6).Endpoints, randomBackend(r, v6).Endpoints
	for j, key := range keys {
		if j > 0 && r.IntN(4) == 0 {
			continue
		}
		inside, outside := randomBackend(r, v6), randomBackend(r, v6)
		if contested && j == 0 {
			put(d, home, inside)
			stick(d, home, home, seconds)
			continue
		}
		if inside.Verdict == model.Forward && cluster != nil {
			inside.Endpoints = cluster
		} else {
			inside = rejected
		}
		if outside.Verdict == model.Forward && local != nil {
			outside.Endpoints = local
		} else {
			outside = dropped
		}
		if j == 0 || r.IntN(2) == 0 {
			put(d, key+protocol, inside)
		} else {
			put(d, key+protocol, inside, outside)
		}
		shared := home
		if contested {
			shared = ""
		}
		stick(d, key+protocol, shared, seconds)
	}
}
