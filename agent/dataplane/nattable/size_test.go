// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

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

// full gives each of them a node port and a load balancer IP with source ranges, and every
// third one session affinity with one of two timeouts.
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
			seconds := int32(0)
			if i%3 == 0 {
				seconds = int32(3600 * (1 + i%2))
			}
			stick(&d, k, key.String(), seconds)
		}
	}
	return d
}

// layoutSize is the number of our objects of each kind in the kernel.
type layoutSize struct{ chains, rules, sets, maps int }

func sizeOf(t *testing.T, d testTables) (s layoutSize) {
	t.Helper()
	for _, table := range d.layouts {
		sets, err := nft.ReadSets(t.Context(), d.Client, table.Table)
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
		chains, err := nft.ReadChains(t.Context(), d.Client, table.Table)
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

// TestSizeDoesNotMatter checks that the cost of a change does not depend on the number of
// Services, nor do the chains, rules, sets and maps.
func TestSizeDoesNotMatter(t *testing.T) {
	shapes := map[string]func(int) model.Desired{"plain": plain, "full": full}
	changes := map[string]struct {
		change func(d *model.Desired)
		want   map[string]int // operations by shape
	}{
		"an endpoint is replaced": {func(d *model.Desired) {
			setEndpoints(d, 2, "10.1.1.1:80", "10.129.0.3:8080", "10.130.0.3:8080")
		}, map[string]int{"plain": 2, "full": 2}},
		"an endpoint is replaced, with affinity": {func(d *model.Desired) {
			setEndpoints(d, 3, "10.1.1.1:80", "10.129.0.4:8080", "10.130.0.4:8080", "10.131.0.4:8080")
		}, map[string]int{"plain": 2, "full": 4}},
		// The element, and the verdicts of the cluster IP and of all the others deleted and added.
		"an endpoint comes": {func(d *model.Desired) {
			setEndpoints(d, 2, "10.1.1.1:80", "10.128.0.3:8080", "10.129.0.3:8080", "10.130.0.3:8080")
		}, map[string]int{"plain": 3, "full": 5}},
		"a Service loses all": {func(d *model.Desired) { setEndpoints(d, 2) }, map[string]int{"plain": 5, "full": 10}},
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
					first := d.Client.Sent()
					stats := mustApply(t, d, model.Diff(before, after))
					if messages[name] == nil {
						messages[name] = map[int]uint32{}
					}
					messages[name][n] = d.Client.Sent() - first
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
		now.Internal = leadTo(f.Internal.Masquerade, endpoints...)
		if len(endpoints) == 0 {
			now.Internal = rejected
		}
		now.External = now.Internal
		d.Frontends[f.Key] = &now
	}
}

// addresses returns a Service with n external addresses, some ports and endpoints.
func addresses(n, ports, endpoints int) model.Desired {
	d := model.NewDesired()
	var list []model.Endpoint
	for i := range endpoints {
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 128, byte(i >> 8), byte(i)}), 8080))
	}
	for p := range ports {
		home := model.FrontendKey{Address: netip.MustParseAddr("10.96.0.1"), Protocol: model.TCP, Port: uint16(p + 1)}
		for i := range n + 1 {
			f := &model.Frontend{Key: home, PortKey: home}
			f.Internal = model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeUnlessPod, Endpoints: list}
			if i > 0 {
				f.Key.Address = netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
				f.Internal.Masquerade = model.MasqueradeAlways
			}
			f.External = f.Internal
			d.Frontends[f.Key] = f
		}
	}
	return d
}

// TestAddressesDoNotMatter checks that the cost of a changed endpoint does not depend on
// the number of external addresses.
func TestAddressesDoNotMatter(t *testing.T) {
	for _, n := range []int{1, 256} {
		d, before := newSpace(t).dataplane(), addresses(n, 2, 10)
		mustSync(t, d, before)
		for name, c := range map[string]struct {
			endpoints func([]model.Endpoint) []model.Endpoint
			want      int
		}{
			"replaced": {func(e []model.Endpoint) []model.Endpoint {
				return append(e[1:], netip.MustParseAddrPort("10.200.0.1:80"))
			}, 2},
			// The element, the verdicts of the cluster IP and of all others, and a chain of either.
			"comes": {func(e []model.Endpoint) []model.Endpoint { return append(e, netip.MustParseAddrPort("10.200.0.1:80")) }, 1 + 4 + 5 + 6},
		} {
			after := before.Clone()
			for key, f := range after.Frontends {
				if key.Port == 1 {
					now := *f
					now.Internal.Endpoints = c.endpoints(slices.Clone(f.Internal.Endpoints))
					now.External = now.Internal
					after.Frontends[key] = &now
				}
			}
			if got := mustApply(t, d, model.Diff(before, after)); got.Operations != c.want {
				t.Errorf("an endpoint %s, with %d addresses: %d operations, want %d", name, n, got.Operations, c.want)
			}
			mustApply(t, d, model.Diff(after, before))
		}
	}
}
