// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			in := input(web().nodePort(3001), many(webSlice(), n))
			b.ReportAllocs()
			for b.Loop() {
				Compile(in)
			}
		})
	}
}

func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			parts := specs(Compile(input(web().nodePort(3001), many(webSlice(), n))), corev1.IPv4Protocol)
			node := thisNode().Node
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Resolve(node, webID, parts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTable changes one Service of 10 endpoints. The cost must not depend
// on the size of the table.
func BenchmarkTable(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			node := thisNode().Node
			resolved := func(i, endpoints int) (ServiceID, Resolved) {
				name := fmt.Sprintf("web-%d", i)
				s := svc(name).ip(fmt.Sprintf("172.30.%d.%d", i/250, i%250+1)).port("http", 80)
				id := ServiceID{"default", name, corev1.IPv4Protocol}
				r, err := Resolve(node, id, specs(Compile(input(s, many(slice(name).port("http", 80), endpoints))), corev1.IPv4Protocol))
				if err != nil {
					b.Fatal(err)
				}
				return id, r
			}
			table := NewTable()
			for i := range n {
				table.Set(resolved(i, 10))
			}
			table.Flush()
			id, ten := resolved(0, 10)
			_, nine := resolved(0, 9)
			b.ReportAllocs()
			for b.Loop() {
				table.Set(id, nine)
				if d := table.Flush(); len(d.Frontends) != 1 {
					b.Fatalf("%d changes", len(d.Frontends))
				}
				table.Set(id, ten)
				if d := table.Flush(); len(d.Frontends) != 1 {
					b.Fatalf("%d changes", len(d.Frontends))
				}
			}
		})
	}
}
