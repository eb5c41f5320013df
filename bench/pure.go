// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// pureResult is the cost of a pure function.
type pureResult struct {
	What string
	testing.BenchmarkResult
}

// largeService is the number of endpoints of the large Service.
const largeService = 1000

// measurePure measures the pure functions.
func measurePure(services int) ([]pureResult, error) {
	var failed error
	var out []pureResult
	measure := func(what string, f func() error) {
		out = append(out, pureResult{what, testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					failed = err
					b.FailNow()
				}
			}
		})})
	}
	c := cluster{services: 1, full: true}
	for _, n := range []int{endpointsEach, largeService} {
		in := compile.Input{Service: c.service(0), EndpointSlices: []*discoveryv1.EndpointSlice{c.endpoints(0, 0, n)}}
		var parts []*v1alpha1.ServiceRuleSliceSpec
		for _, s := range compile.Service(in).Slices {
			parts = append(parts, &s.Spec)
		}
		id := model.ServiceID{Namespace: namespace, Name: serviceName(0), Family: corev1.IPv4Protocol}
		measure(fmt.Sprintf("Compile a Service of %d endpoints (controller)", n), func() error {
			compile.Service(in)
			return nil
		})
		measure(fmt.Sprintf("Resolve it, with %d frontends (agent)", len(in.Service.Status.LoadBalancer.Ingress)+2), func() error {
			_, err := resolve.Service(resolve.Node{Name: nodeName, Spec: node()}, id, parts)
			return err
		})
	}
	for _, n := range []int{1, services} {
		change, err := tableOf(cluster{services: n, full: true})
		if err != nil {
			return nil, err
		}
		measure(fmt.Sprintf("Table: set a changed Service and flush, of %d", n), change)
	}
	return out, failed
}

// tableOf returns a function that changes one Service in a table of many.
func tableOf(c cluster) (func() error, error) {
	l := loaded{cluster: c, table: resolve.NewTable()}
	for i := range c.services {
		slice, err := c.slice(i, 0)
		if err == nil {
			err = l.resolve(&slice.Spec)
		}
		if err != nil {
			return nil, err
		}
	}
	l.table.Flush()
	id := model.ServiceID{Namespace: namespace, Name: serviceName(0), Family: corev1.IPv4Protocol}
	var versions [2]resolve.Result
	for v := range versions {
		slice, err := c.slice(0, v+1)
		if err == nil {
			versions[v], err = resolve.Service(resolve.Node{Name: nodeName, Spec: node()}, id, []*v1alpha1.ServiceRuleSliceSpec{&slice.Spec})
		}
		if err != nil {
			return nil, err
		}
	}
	i := 0
	return func() error {
		i++
		l.table.Set(id, versions[i%2])
		if d := l.table.Flush(); len(d.Frontends) == 0 {
			return fmt.Errorf("the table has not changed")
		}
		return nil
	}, nil
}
