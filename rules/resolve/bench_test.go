// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			parts := Specs(compile.Service(Input(Web().NodePort(3001), Many(WebSlice(), n))), corev1.IPv4Protocol)
			node := ThisNode().Node
			b.ReportAllocs()
			for b.Loop() {
				if _, err := resolve.Service(node, WebID, parts); err != nil {
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
			node := ThisNode().Node
			resolved := func(i, endpoints int) (model.ServiceID, resolve.Result) {
				name := fmt.Sprintf("web-%d", i)
				s := Service(name).IP(fmt.Sprintf("172.30.%d.%d", i/250, i%250+1)).Port("http", 80)
				id := model.ServiceID{Namespace: "default", Name: name, Family: corev1.IPv4Protocol}
				r, err := resolve.Service(node, id, Specs(compile.Service(Input(s, Many(Slice(name).Port("http", 80), endpoints))), corev1.IPv4Protocol))
				if err != nil {
					b.Fatal(err)
				}
				return id, r
			}
			table := resolve.NewTable()
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

// BenchmarkLargeService replaces one endpoint of a Service at the bounds of
// compile: 10 external addresses, 100 ports and 1000 endpoints are 1,100 frontends.
func BenchmarkLargeService(b *testing.B) {
	node := ThisNode().Node
	node.Spec.ExternalIPs.Policy = v1alpha1.ExternalIPAllow
	versions := [][]*v1alpha1.ServiceRuleSliceSpec{largeService(0), largeService(1)}
	var results []resolve.Result
	b.Run("resolve", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r, err := resolve.Service(node, WebID, versions[i%2])
			if err != nil {
				b.Fatal(err)
			}
			results = append(results, r)
			results = results[max(0, len(results)-2):]
		}
	})
	b.Run("table", func(b *testing.B) {
		table := resolve.NewTable()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			table.Set(WebID, results[i%2])
			if d := table.Flush(); len(d.Frontends) != 1100 {
				b.Fatalf("%d changes", len(d.Frontends))
			}
		}
	})
}

// largeService returns a Service whose first endpoint is the first one of all.
func largeService(first int) []*v1alpha1.ServiceRuleSliceSpec {
	s, e := Service("web").IP("172.30.0.41"), Slice("web")
	var addresses []string
	for i := range 10 {
		addresses = append(addresses, fmt.Sprintf("198.18.0.%d", i))
	}
	s.ExternalIPs(addresses...)
	for p := range int32(100) {
		name := fmt.Sprintf("p%d", p)
		s.Port(name, 1000+p)
		e.Port(name, 8000+p)
	}
	for i := range 1000 {
		e.Ready(fmt.Sprintf("10.1.%d.%d", (first+i)/256, (first+i)%256), fmt.Sprint("node-", i%100))
	}
	return Specs(compile.Service(Input(s, e)), corev1.IPv4Protocol)
}
