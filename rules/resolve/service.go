// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resolve decides what the slices of Services mean on one node: its frontends, its
// settings, its health checks. Service and Settings are pure; a Table holds the results of
// all Services, and returns what changed.
package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Node is what Service needs to know about a node.
type Node struct {
	Name string
	Spec v1alpha1.NodeRuleSetSpec

	// APIServers are the addresses by which the agent reaches the apiserver. They are
	// never an external or load balancer IP, whatever a slice says: the node could not be
	// repaired.
	APIServers []netip.Addr
}

// Result is what a Service means on a node.
type Result struct {
	Frontends []model.Frontend

	// LocalEndpoints are the addresses of the Service's endpoints on the node.
	LocalEndpoints []netip.Addr

	// HealthCheck is the health check of the Service on the node.
	HealthCheck HealthCheck

	// Stranded are the ports for which a Local policy leaves no endpoints on the node,
	// although there are some elsewhere.
	Stranded Stranded
}

// Stranded counts ports without endpoints on the node, by the policy that requires local
// ones.
type Stranded struct{ Internal, External int }

// Service returns what a Service means on a node. parts are the slices of one
// Service and one family, in any order; while the controller moves endpoints
// between parts, an endpoint may be in two of them and counts once.
//
// The error names malformed entries, which are left out; the rest is usable.
func Service(node Node, id model.ServiceID, parts []*v1alpha1.ServiceRuleSliceSpec) (Result, error) {
	r := newResolver(node, id, parts)
	if r == nil {
		return Result{}, nil
	}
	for i := range r.header.Ports {
		r.port(i)
	}
	for i := range r.out.Frontends {
		r.out.Frontends[i].Ports = model.RoundPorts(r.ports)
	}
	for addr := range r.local {
		r.out.LocalEndpoints = append(r.out.LocalEndpoints, addr)
	}
	slices.SortFunc(r.out.LocalEndpoints, netip.Addr.Compare)
	r.healthCheck()
	return r.out, errors.Join(r.errs...)
}

// resolver is the state of one call of Service. Its header is that of the first part; the
// other parts only add endpoints.
type resolver struct {
	node   Node
	id     model.ServiceID
	parts  []*v1alpha1.ServiceRuleSliceSpec
	header *v1alpha1.ServiceRuleSliceSpec
	out    Result
	errs   []error

	externalIPs []string   // that the policy allows, and malformed ones
	endpoints   []endpoint // of all parts
	ports       int        // that have frontends

	local, localReady map[netip.Addr]struct{} // addresses of endpoints
}

// newResolver returns nil if there are no parts.
func newResolver(node Node, id model.ServiceID, parts []*v1alpha1.ServiceRuleSliceSpec) *resolver {
	if len(parts) == 0 {
		return nil
	}
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b *v1alpha1.ServiceRuleSliceSpec) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Digest, b.Digest))
	})
	r := &resolver{
		node: node, id: id, parts: parts, header: parts[0],
		local: map[netip.Addr]struct{}{}, localReady: map[netip.Addr]struct{}{},
	}
	r.externalIPs = allowedExternalIPs(node.Spec.ExternalIPs, r.header.ExternalIPs)
	r.endpoints = r.read()
	return r
}

func (r *resolver) fail(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("service %s: "+format, append([]any{r.id}, args...)...))
}

// port adds the frontends of a port.
func (r *resolver) port(index int) {
	port := r.header.Ports[index]
	protocol := model.ProtocolOf(port.Protocol)
	if protocol == 0 || !model.ValidPort(port.Port) {
		r.fail("port %q is malformed", port.Name)
		return
	}
	cluster, local, all := r.endpointsOf(index)
	var serving []model.Endpoint
	if protocol == model.UDP {
		serving = addresses(all)
	}
	r.strand(port, local)
	first := len(r.out.Frontends)
	add := func(address string, number int32, kind model.Kind) {
		if f, ok := r.frontend(address, number, kind); ok {
			f.Key.Protocol, f.PortName = protocol, port.Name
			f.Internal, f.External = r.backends(kind, cluster, local)
			f.Serving = serving
			r.out.Frontends = append(r.out.Frontends, f)
			added := r.out.Frontends
			added[len(added)-1].PortKey = added[first].Key
		}
	}
	if r.header.ClusterIP != "" {
		add(r.header.ClusterIP, port.Port, model.KindClusterIP)
	}
	for _, ip := range r.header.LoadBalancerIPs {
		add(ip, port.Port, model.KindLoadBalancer)
	}
	for _, ip := range r.externalIPs {
		// An address that is both belongs to the load balancer: its source ranges count.
		if ip != r.header.ClusterIP && !slices.Contains(r.header.LoadBalancerIPs, ip) {
			add(ip, port.Port, model.KindExternalIP)
		}
	}
	if port.NodePort != 0 {
		add(model.Unspecified(r.header.AddressFamily).String(), port.NodePort, model.KindNodePort)
	}
	if len(r.out.Frontends) > first {
		r.ports++
	}
}

// allowedExternalIPs returns the external IPs that the policy allows, and malformed ones.
func allowedExternalIPs(o v1alpha1.ExternalIPOptions, all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(text string) bool {
		addr, err := model.ParseAddr(text)
		return err == nil && !model.AllowsExternalIP(o, addr)
	})
}

// strand counts a port for which a Local policy leaves nothing on this node.
func (r *resolver) strand(port v1alpha1.RulePort, local endpointSet) {
	if len(local.endpoints) > 0 || local.empty != model.Drop {
		return
	}
	if r.header.InternalTrafficPolicy == v1alpha1.TrafficPolicyLocal {
		r.out.Stranded.Internal++
	}
	exposed := port.NodePort != 0 || len(r.header.LoadBalancerIPs)+len(r.externalIPs) > 0
	if exposed && r.header.ExternalTrafficPolicy == v1alpha1.TrafficPolicyLocal {
		r.out.Stranded.External++
	}
}

// frontend returns a frontend without its backends.
func (r *resolver) frontend(address string, port int32, kind model.Kind) (model.Frontend, bool) {
	addr, err := model.ParseAddr(address)
	if err == nil && kind != model.KindNodePort {
		err = model.ValidateFrontendAddress(addr)
	}
	if err == nil && (model.FamilyOf(addr) != r.header.AddressFamily || !model.ValidPort(port)) {
		err = errors.New("wrong family or port")
	}
	if err != nil {
		r.fail("%s %s:%d is malformed: %v", kind, address, port, err)
		return model.Frontend{}, false
	}
	exposed := kind == model.KindExternalIP || kind == model.KindLoadBalancer
	if exposed && slices.Contains(r.node.APIServers, addr) {
		r.fail("%s %s:%d skipped: this node reaches the apiserver at this address", kind, address, port)
		return model.Frontend{}, false
	}
	f := model.Frontend{
		Key:                    model.FrontendKey{Address: addr, Port: uint16(port)},
		Kind:                   kind,
		Service:                r.id,
		Created:                createdOf(r.header),
		AffinityTimeoutSeconds: r.header.AffinityTimeoutSeconds,
	}
	if f.AffinityTimeoutSeconds == 0 && r.node.Spec.SessionAffinity.Policy == v1alpha1.AffinityClientIP {
		f.AffinityTimeoutSeconds = r.node.Spec.SessionAffinity.TimeoutSeconds
	}
	if kind == model.KindLoadBalancer && r.header.LoadBalancerSources != nil {
		f.Restricted = true
		f.Sources = r.sources(addr)
	}
	if kind == model.KindNodePort {
		f.Restricted = restrictsNodePorts(r.node.Spec)
	}
	return f, true
}

// sources returns the allowed sources of a load balancer IP. An allowed node sends to that
// IP with the same IP as its source, if the IP is bound to the node: then the IP is
// allowed too.
func (r *resolver) sources(vip netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	nodeAllowed := false
	for _, text := range r.header.LoadBalancerSources.Allowed {
		p, err := model.ParsePrefix(text)
		if err == nil && model.FamilyOf(p.Addr()) != model.FamilyOf(vip) {
			err = errors.New("wrong family")
		}
		if err != nil {
			r.fail("source range %q is malformed: %v", text, err)
			continue
		}
		out = append(out, p)
		for _, a := range nodeAddresses(r.node.Spec.Node.Addresses) {
			nodeAllowed = nodeAllowed || p.Contains(a)
		}
	}
	if nodeAllowed {
		out = append(out, netip.PrefixFrom(vip, vip.BitLen()))
	}
	slices.SortFunc(out, model.ComparePrefix)
	return slices.Compact(out)
}

// backends decides how traffic to a frontend is handled, from the endpoints for
// cluster-wide traffic and those on this node.
func (r *resolver) backends(kind model.Kind, cluster, local endpointSet) (internal, external model.Backend) {
	if kind == model.KindClusterIP {
		mask := model.MasqueradeUnlessPod
		if all := r.node.Spec.Masquerade.All; all != nil && *all {
			mask = model.MasqueradeAlways
		} else if !knowsPods(r.node.Spec, r.header.AddressFamily) {
			mask = model.MasqueradeNever // as in kube-proxy: otherwise every Pod would be masqueraded
		}
		if r.header.InternalTrafficPolicy == v1alpha1.TrafficPolicyLocal {
			b := local.backend(mask)
			return b, b
		}
		b := cluster.backend(mask)
		return b, b
	}
	if r.header.ExternalTrafficPolicy == v1alpha1.TrafficPolicyLocal {
		// Pods and processes of the node reach all endpoints, as they would through the
		// ClusterIP: there is no load balancer in front of them that knows where the local
		// endpoints are.
		mask := model.MasqueradeUnlessPod
		if !knowsPods(r.node.Spec, r.header.AddressFamily) {
			mask = model.MasqueradeAlways // only processes of the node are known to be internal
		}
		return cluster.backend(mask), local.backend(model.MasqueradeNever)
	}
	b := cluster.backend(model.MasqueradeAlways)
	return b, b
}
