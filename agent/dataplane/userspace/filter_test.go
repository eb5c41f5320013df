// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// packet is an IP packet from an address, as far as filters read it.
func packet(from netip.Addr) []byte {
	b := make([]byte, 40)
	at := 12
	if from.Is6() {
		at = 8
	}
	copy(b[at:], from.AsSlice())
	return b
}

// passes runs the filter of a frontend. The virtual machine of package bpf has no links:
// programs that read them are run by the kernel, see kernel_test.go.
func passes(t *testing.T, f *model.Frontend, from netip.Addr) bool {
	t.Helper()
	return machine(t, f)(from)
}

// machine returns a function that runs the filter of a frontend.
func machine(t *testing.T, f *model.Frontend) func(from netip.Addr) bool {
	t.Helper()
	code := program(f, &inside{}, 0)
	if code == nil {
		return func(netip.Addr) bool { return true }
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	return func(from netip.Addr) bool {
		n, err := vm.Run(packet(from))
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
}

func restricted(address string, sources ...string) *model.Frontend {
	f := &model.Frontend{Key: key(address, model.TCP), Internal: forward("10.244.1.1:80"), External: forward("10.244.1.1:80"), Restricted: true}
	for _, s := range sources {
		f.Sources = append(f.Sources, netip.MustParsePrefix(s))
	}
	return f
}

func TestSources(t *testing.T) {
	for name, c := range map[string]struct {
		frontend *model.Frontend
		from     string
		want     bool
	}{
		"no ranges":                 {&model.Frontend{Key: key("1.2.3.4:80", model.TCP)}, "203.0.113.2", true},
		"no source":                 {restricted("1.2.3.4:80"), "203.0.113.2", false},
		"in it":                     {restricted("1.2.3.4:80", "203.0.113.0/25"), "203.0.113.127", true},
		"behind it":                 {restricted("1.2.3.4:80", "203.0.113.0/25"), "203.0.113.128", false},
		"in the second":             {restricted("1.2.3.4:80", "192.168.0.0/24", "203.0.113.128/25"), "203.0.113.128", true},
		"an address":                {restricted("1.2.3.4:80", "203.0.113.2/32"), "203.0.113.2", true},
		"the next address":          {restricted("1.2.3.4:80", "203.0.113.2/32"), "203.0.113.3", false},
		"every source":              {restricted("1.2.3.4:80", "0.0.0.0/0"), "203.0.113.3", true},
		"IPv6, in it":               {restricted("[fd00::1]:80", "2001:db8:1::/48"), "2001:db8:1:2::3", true},
		"IPv6, beside it":           {restricted("[fd00::1]:80", "2001:db8:1::/48"), "2001:db8:2::3", false},
		"IPv6, in a range of /65":   {restricted("[fd00::1]:80", "2001:db8::/65"), "2001:db8::7fff:0:0:1", true},
		"IPv6, beside it of /65":    {restricted("[fd00::1]:80", "2001:db8::/65"), "2001:db8::8000:0:0:1", false},
		"IPv6, an address":          {restricted("[fd00::1]:80", "2001:db8::1/128"), "2001:db8::1", true},
		"IPv6, another address":     {restricted("[fd00::1]:80", "2001:db8::1/128"), "2001:db8::2", false},
		"IPv6, the second of three": {restricted("[fd00::1]:80", "2001:db8:1::/48", "2001:db8:2::/48", "2001:db8:3::/48"), "2001:db8:2::", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := passes(t, c.frontend, netip.MustParseAddr(c.from)); got != c.want {
				t.Errorf("%s passes: %v, want %v", c.from, got, c.want)
			}
		})
	}
}

// The program and a plain comparison agree for all sources, also with more ranges than a
// conditional jump can skip.
func TestRandomSources(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f := restricted("1.2.3.4:80")
		for range r.IntN(500) {
			a := netip.AddrFrom4([4]byte{10, byte(r.UintN(4)), byte(r.Uint32()), byte(r.Uint32())})
			f.Sources = append(f.Sources, netip.PrefixFrom(a, 16+r.IntN(17)).Masked())
		}
		run := machine(t, f)
		for range 200 {
			from := netip.AddrFrom4([4]byte{10, byte(r.UintN(5)), byte(r.Uint32()), byte(r.Uint32())})
			want := slices.ContainsFunc(f.Sources, func(p netip.Prefix) bool { return p.Contains(from) })
			if got := run(from); got != want {
				t.Fatalf("%s in %v: %v, want %v", from, f.Sources, got, want)
			}
		}
	}
}

// A program that is too large for the kernel is not used: then the proxy itself refuses
// clients that are not allowed.
func TestTooManySources(t *testing.T) {
	f := restricted("[fd00::1]:80")
	for i := range 1000 {
		f.Sources = append(f.Sources, netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%x::/64", i)))
	}
	if code := program(f, &inside{}, networkHeader); code != nil {
		t.Errorf("%d instructions", len(code))
	}
	b, _ := newTestBalancer(f)
	if _, ok := b.choose(client{address: netip.MustParseAddr("2001:db8:0:3e8::1")}, nil); ok {
		t.Error("a source in no range is allowed")
	}
	if _, ok := b.choose(client{address: netip.MustParseAddr("2001:db8:0:3e7::1")}, nil); !ok {
		t.Error("a source in the last range is denied")
	}
}

// A frontend that drops on both sides drops everything, and one that forwards on both
// needs no filter.
func TestVerdicts(t *testing.T) {
	drop := model.Backend{Verdict: model.Drop}
	f := &model.Frontend{Key: key("1.2.3.4:80", model.TCP), Internal: drop, External: drop}
	if passes(t, f, outside.address) {
		t.Error("passes a frontend that drops")
	}
	f.Internal, f.External = forward("10.244.1.1:80"), forward("10.244.1.1:80")
	if code := program(f, &inside{}, 0); code != nil {
		t.Errorf("a frontend without restrictions has a filter: %v", code)
	}
}
