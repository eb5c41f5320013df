// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/events"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestBounds has the apiserver accept Services as large as it may, and our objects for
// them, with an event where something was left out.
func TestBounds(t *testing.T) {
	addresses := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("198.18.%d.%d", i/250, i%250+1))
		}
		return out
	}
	balancer := func(svc *corev1.Service, n int) {
		svc.Spec.Type = corev1.ServiceTypeLoadBalancer
		no := false
		svc.Spec.AllocateLoadBalancerNodePorts = &no
		for _, a := range addresses(n) {
			svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
		}
	}
	ports := func(svc *corev1.Service, n int) {
		svc.Spec.Ports = nil
		for i := range n {
			svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: int32(i + 1)})
		}
	}
	for name, c := range map[string]struct {
		service func(*corev1.Service)
		event   string // the begin of its message; empty: none
	}{
		"many ports":         {func(s *corev1.Service) { ports(s, 3000) }, ""},
		"many external IPs":  {func(s *corev1.Service) { ports(s, 8); s.Spec.ExternalIPs = addresses(300) }, "172 of 300 IPv4 addresses of spec.externalIPs skipped"},
		"many of both":       {func(s *corev1.Service) { ports(s, 100); s.Spec.ExternalIPs = addresses(256) }, "246 of 256 IPv4 addresses of spec.externalIPs skipped"},
		"many balancers":     {func(s *corev1.Service) { ports(s, 8); balancer(s, 300) }, "172 of 300 IPv4 addresses of status.loadBalancer.ingress skipped"},
		"many source ranges": {func(s *corev1.Service) { balancer(s, 1); sources(s, addresses(1500)) }, "500 of 1500 IPv4 entries of spec.loadBalancerSourceRanges skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServices(t)
			svc := s.service()
			c.service(svc)
			ingress := svc.Status.LoadBalancer.Ingress
			slice := s.endpointSlice(50)
			slice.Ports = nil
			for i := range svc.Spec.Ports {
				port := &svc.Spec.Ports[i]
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &port.Port})
			}
			create(t, svc, slice)
			if svc.Status.LoadBalancer.Ingress = ingress; len(ingress) > 0 {
				if err := api.Status().Update(t.Context(), svc); err != nil {
					t.Fatal(err)
				}
			}
			defer func() { // nothing collects them here, and each search would list them
				for _, written := range s.slices() {
					s.delete(&written)
				}
			}()
			s.reconcile()
			if got := len(s.endpoints()); got != 50 {
				t.Errorf("the slices have %d endpoints, want 50", got)
			}
			for name, written := range s.slices() {
				if len(written.Spec.Ports) != len(svc.Spec.Ports) || written.Spec.ClusterIP != svc.Spec.ClusterIP {
					t.Errorf("%s: %d ports at %q, want %d", name, len(written.Spec.Ports), written.Spec.ClusterIP, len(svc.Spec.Ports))
				}
			}
			if c.event == "" {
				wantNoEvent(t, s.recorder)
			} else {
				wantEvent(t, s.recorder, "Warning "+v1alpha1.EventFieldSkipped+" Service "+s.ns+"/web: "+c.event)
			}
			// And endpoints are followed.
			setEndpoints(slice, 49)
			s.update(slice)
			s.reconcile()
			if got := len(s.endpoints()); got != 49 {
				t.Errorf("the slices have %d endpoints, want 49", got)
			}
		})
	}
}

func sources(svc *corev1.Service, addresses []string) {
	for _, a := range addresses {
		svc.Spec.LoadBalancerSourceRanges = append(svc.Spec.LoadBalancerSourceRanges, a+"/32")
	}
}

// TestManyNodeAddresses has a node with more addresses than most, and with more than
// count.
func TestManyNodeAddresses(t *testing.T) {
	for n, want := range map[int]int{40: 42, 400: 256} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			nodes := newNodes(t)
			recorder := events.NewFakeRecorder(10)
			nodes.Recorder = recorder
			machine := node("n1")
			for i := range n {
				machine.Status.Addresses = append(machine.Status.Addresses, corev1.NodeAddress{
					Type: corev1.NodeExternalIP, Address: fmt.Sprintf("198.18.%d.%d", i/250, i%250+1)})
			}
			create(t, machine, policy("silver", "n1", 0))
			nodes.wantWrites("n1", "apply n1")
			set := ruleSet(t, "n1")
			if got := len(set.Spec.Node.Addresses); got != want {
				t.Errorf("got %d addresses, want %d", got, want)
			}
			if set.Spec.Mode != v1alpha1.ModeNFTables {
				t.Errorf("mode %s", set.Spec.Mode)
			}
			if n == 40 {
				wantNoEvent(t, recorder)
			} else {
				wantEvent(t, recorder, "Warning "+v1alpha1.EventNodeFactSkipped+" Node n1: 146 addresses skipped")
			}
		})
	}
}
