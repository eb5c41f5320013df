// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func benchmarkSizes(b *testing.B, f func(b *testing.B, desired model.Desired)) {
	for _, n := range []int{100, 1000, 10000} {
		desired := several(n, 10)
		b.Run(fmt.Sprintf("services=%dx10", n), func(b *testing.B) {
			b.ReportAllocs()
			f(b, desired)
		})
	}
}

// BenchmarkFromEmpty programs everything into an empty kernel.
func BenchmarkFromEmpty(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, desired model.Desired) {
		d := newSpace(b).dataplane()
		for b.Loop() {
			b.StopTimer()
			if err := d.Cleanup(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			mustSync(b, d, desired)
		}
	})
}

// BenchmarkReadBack is a Sync that finds nothing to do.
func BenchmarkReadBack(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, desired model.Desired) {
		d := newSpace(b).dataplane()
		mustSync(b, d, desired)
		for b.Loop() {
			d.gen.Known = false // else nothing is read
			if stats := mustSync(b, d, desired); stats.Operations != 0 {
				b.Fatalf("%+v", stats)
			}
		}
		b.StopTimer()
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		runtime.KeepAlive(d)
	})
}

// BenchmarkReplaceEndpoint replaces one endpoint of one Service.
func BenchmarkReplaceEndpoint(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, desired model.Desired) {
		d := newSpace(b).dataplane()
		mustSync(b, d, desired)
		key := at("10.96.0.1:80/tcp")
		old := desired.Frontends[key]
		for i := 0; b.Loop(); i++ {
			now := *old
			now.Internal = clusterIP("10.1.0.0:1")
			now.Internal.Endpoints = append(now.Internal.Endpoints[:0], old.Internal.Endpoints...)
			now.Internal.Endpoints[0] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)
			now.External = now.Internal
			mustApply(b, d, model.Delta{Frontends: []model.Change{{Key: key, Old: old, New: &now}}})
			old = &now
		}
	})
}

// BenchmarkReplaceSource replaces one source range of one Service.
func BenchmarkReplaceSource(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("ranges=%d", n), func(b *testing.B) {
			d, desired := newSpace(b).dataplane(), restricted(n)
			mustSync(b, d, desired)
			old := desired.Frontends[at("10.96.0.1:80/tcp")]
			for i := 0; b.Loop(); i++ {
				now := *old
				now.Sources = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{101, byte(i >> 8), byte(i), 0}), 24)}
				mustApply(b, d, model.Delta{Frontends: []model.Change{{Key: old.Key, Old: old, New: &now}}})
				old = &now
			}
		})
	}
}

// BenchmarkManyAddresses programs one Service with 256 external addresses, 100 ports and
// 1,000 endpoints into an empty kernel, and then replaces one of its endpoints.
func BenchmarkManyAddresses(b *testing.B) {
	desired := addresses(256, 100, 1000)
	b.Run("from empty", func(b *testing.B) {
		d := newSpace(b).dataplane()
		for b.Loop() {
			b.StopTimer()
			if err := d.Cleanup(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			b.ReportMetric(float64(mustSync(b, d, desired).Operations), "operations")
		}
	})
	b.Run("one endpoint", func(b *testing.B) {
		d := newSpace(b).dataplane()
		mustSync(b, d, desired)
		now := desired
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			next := now.Clone()
			list := slices.Clone(now.Frontends[at("10.96.0.1:1/tcp")].Internal.Endpoints)
			list[7] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)
			for key, f := range now.Frontends {
				if key.Port == 1 {
					changed := *f
					changed.Internal.Endpoints = list
					changed.External = changed.Internal
					next.Frontends[key] = &changed
				}
			}
			delta := model.Diff(now, next)
			b.StartTimer()
			if got := mustApply(b, d, delta); got.Operations != 2 {
				b.Fatalf("%+v", got)
			}
			now = next
		}
	})
}
