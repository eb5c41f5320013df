// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// plain returns n Services with a cluster IP and 1 to 4 endpoints each.
func plain(n int) model.Desired {
	d := model.NewDesired()
	for i := range n {
		var endpoints []string
		for j := range 1 + i%4 {
			endpoints = append(endpoints, fmt.Sprintf("10.%d.%d.%d:8080", 128+j, i/250, i%250+1))
		}
		vip := netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i%250 + 1)})
		put(&d, vip.String()+":80/tcp", clusterIP(endpoints...))
		d.ClusterIPs[vip] = struct{}{}
	}
	return d
}

// full gives each of them a node port and a load balancer's address with source
// ranges, and every third affinity with one of two timeouts.
func full(n int) model.Desired {
	d := plain(n)
	for i, key := range slices.SortedFunc(keys(d), model.FrontendKey.Compare) {
		endpoints := d.Frontends[key].Internal.Endpoints
		always := model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeAlways, Endpoints: endpoints}
		lb, nodePort := fmt.Sprintf("198.18.%d.%d:80/tcp", i/250, i%250+1), fmt.Sprintf("nodeport:%d/tcp", 10000+i)
		put(&d, nodePort, always)
		put(&d, lb, always)
		restrict(&d, lb, "10.0.0.0/8", fmt.Sprintf("172.%d.0.0/16", 16+i%16), "203.0.113.0/24")
		for _, k := range []string{key.String(), nodePort, lb} {
			if i%3 == 0 {
				stick(&d, k, key.String(), int32(3600*(1+i%2)))
			}
		}
	}
	return d
}

// layoutSize is how many objects of each kind the kernel holds for us.
type layoutSize struct{ chains, rules, sets, maps int }

func sizeOf(t *testing.T, d *Dataplane) (s layoutSize) {
	t.Helper()
	for _, table := range d.tables {
		sets, err := nft.ReadSets(t.Context(), d.nft, table.Table)
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range sets {
			if set.IsMap() {
				s.maps++
			} else {
				s.sets++
			}
		}
		chains, err := nft.ReadChains(t.Context(), d.nft, table.Table)
		if err != nil {
			t.Fatal(err)
		}
		s.chains += len(chains)
		for _, c := range chains {
			s.rules += len(c.Rules)
		}
	}
	return s
}

// TestSizeDoesNotMatter checks that a change costs the same among few and among
// many Services, and that these do not differ in chains, rules, sets or maps.
func TestSizeDoesNotMatter(t *testing.T) {
	shapes := map[string]func(int) model.Desired{"plain": plain, "full": full}
	changes := map[string]struct {
		change func(d *model.Desired)
		want   map[string]int // operations by shape
	}{
		"an endpoint is replaced": {func(d *model.Desired) {
			setEndpoints(d, 2, "10.1.1.1:80", "10.129.0.3:8080", "10.130.0.3:8080")
		}, map[string]int{"plain": 2, "full": 6}},
		"an endpoint is replaced, with affinity": {func(d *model.Desired) {
			setEndpoints(d, 3, "10.1.1.1:80", "10.129.0.4:8080", "10.130.0.4:8080", "10.131.0.4:8080")
		}, map[string]int{"plain": 2, "full": 18}},
		"an endpoint comes": {func(d *model.Desired) { // the element, and the verdict deleted and added
			setEndpoints(d, 2, "10.1.1.1:80", "10.128.0.3:8080", "10.129.0.3:8080", "10.130.0.3:8080")
		}, map[string]int{"plain": 3, "full": 9}},
		"a Service loses all": {func(d *model.Desired) { setEndpoints(d, 2) }, map[string]int{"plain": 5, "full": 15}},
	}
	for shape, desired := range shapes {
		t.Run(shape, func(t *testing.T) {
			sizes, messages := map[int]layoutSize{}, map[string]map[int]uint32{}
			for _, n := range []int{100, 2000} {
				d, before := newSpace(t).dataplane(), desired(n)
				mustSync(t, d, before)
				sizes[n] = sizeOf(t, d)
				for name, c := range changes {
					after := desired(n)
					c.change(&after)
					first := d.nft.Sent()
					stats := mustApply(t, d, model.Diff(before, after))
					if messages[name] == nil {
						messages[name] = map[int]uint32{}
					}
					messages[name][n] = d.nft.Sent() - first
					if stats.Operations != c.want[shape] {
						t.Errorf("%s, of %d: %d operations, want %d", name, n, stats.Operations, c.want[shape])
					}
					mustApply(t, d, model.Diff(after, before))
				}
				if got := sizeOf(t, d); got != sizes[n] {
					t.Errorf("of %d, after the changes: %+v, was %+v", n, got, sizes[n])
				}
			}
			if sizes[100] != sizes[2000] {
				t.Errorf("100 Services: %+v, 2000: %+v", sizes[100], sizes[2000])
			}
			for name, m := range messages {
				if m[100] != m[2000] {
					t.Errorf("%s: messages %v", name, m)
				}
			}
			t.Logf("%+v, messages %v", sizes[100], messages)
		})
	}
}

// setEndpoints changes the endpoints of the i-th Service on all its addresses.
func setEndpoints(d *model.Desired, i int, endpoints ...string) {
	for _, k := range []string{
		fmt.Sprintf("10.96.0.%d:80/tcp", i+1), fmt.Sprintf("198.18.0.%d:80/tcp", i+1), fmt.Sprintf("nodeport:%d/tcp", 10000+i),
	} {
		f := d.Frontends[at(k)]
		if f == nil {
			continue
		}
		now := *f
		now.Internal = forwardTo(f.Internal.Masquerade, endpoints...)
		if len(endpoints) == 0 {
			now.Internal = rejected
		}
		now.External = now.Internal
		d.Frontends[f.Key] = &now
	}
}
