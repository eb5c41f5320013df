// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// HealthCheck is what a node answers to the health checks of load balancers, for a Service
// whose external traffic policy is Local.
type HealthCheck struct {
	Service model.ServiceID

	// Port is the health check node port, in the Service's family; 0: none.
	Port uint16

	// LocalReady is the number of addresses of ready endpoints on the node. A terminating
	// endpoint does not count although it may still get traffic, so that the load balancer
	// turns away before the endpoint is gone.
	LocalReady int

	// LoadBalancerIPs are those of the Service. Some load balancers send their checks to
	// these, bound to the node, others to an address that node ports answer on.
	LoadBalancerIPs []netip.Addr
}

// healthCheck adds the health check of the Service.
func (r *resolver) healthCheck() {
	number := r.header.HealthCheckNodePort
	if number == 0 {
		return
	}
	if !model.ValidPort(number) {
		r.fail("health check port %d is malformed", number)
		return
	}
	r.out.HealthCheck = HealthCheck{Service: r.id, Port: uint16(number), LocalReady: len(r.localReady),
		LoadBalancerIPs: nodeAddresses(r.header.LoadBalancerIPs)}
}

// AnswersAt says whether the health check answers on a local address: where node ports
// answer, on the Service's own addresses, and on loopback.
func (c *HealthCheck) AnswersAt(local netip.Addr, node model.NodeSettings) bool {
	local = local.Unmap().WithZone("")
	return local.IsLoopback() || slices.Contains(c.LoadBalancerIPs, local) || node.AnswersNodePorts(local)
}

// HealthPort is a port for HealthChecks.
type HealthPort struct {
	Family corev1.IPFamily
	Number uint16
}

// HealthChecks are claims by port. The first claim has the port; with no claims the port
// is closed.
type HealthChecks map[HealthPort][]HealthCheck

// healthChecks are the HealthChecks of a table by port, and the ports whose
// claims changed since the last flush.
type healthChecks struct {
	claims  map[HealthPort][]*HealthCheck
	touched map[HealthPort]struct{}
}

func newHealthChecks() healthChecks {
	return healthChecks{claims: map[HealthPort][]*HealthCheck{}, touched: map[HealthPort]struct{}{}}
}

// replace replaces old with now; either may be nil.
func (h *healthChecks) replace(old, now *HealthCheck) {
	if now != nil {
		port := h.touch(now)
		h.claims[port] = append(h.claims[port], now)
	}
	if old != nil {
		port := h.touch(old)
		h.claims[port] = slices.DeleteFunc(h.claims[port], func(c *HealthCheck) bool { return c == old })
		if len(h.claims[port]) == 0 {
			delete(h.claims, port)
		}
	}
}

func (h *healthChecks) touch(c *HealthCheck) HealthPort {
	port := HealthPort{c.Service.Family, c.Port}
	h.touched[port] = struct{}{}
	return port
}

// FlushHealthChecks returns the claims of the health check ports that changed since the
// last call. The apiserver allocates each port only once, but a restored etcd may hold it
// twice: then the first Service by namespace and name has it.
func (t *Table) FlushHealthChecks() HealthChecks {
	out := make(HealthChecks, len(t.health.touched))
	for port := range t.health.touched {
		out[port] = nil
		for _, c := range t.health.claims[port] {
			out[port] = append(out[port], *c)
		}
		slices.SortFunc(out[port], func(a, b HealthCheck) int {
			return cmp.Or(
				cmp.Compare(a.Service.Namespace, b.Service.Namespace),
				cmp.Compare(a.Service.Name, b.Service.Name),
			)
		})
	}
	t.health.touched = map[HealthPort]struct{}{} // see Table.Flush
	return out
}
