// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// Input are the objects that a Report follows from.
type Input struct {
	Service        *corev1.Service
	Port           string // name or number; empty: all
	EndpointSlices []*discoveryv1.EndpointSlice
	Client         Client
	// Slices are those of all Services: another one may have an address of this one.
	Slices []v1alpha1.ServiceRuleSlice
	// Nodes are the nodes that connections may arrive at.
	Nodes []v1alpha1.NodeRuleSet
	// Kernels are what was read of these nodes' kernels, by node; nil: nothing was.
	Kernels map[string]kernel.Answer
}

// Explain returns what becomes of the client's connections to the Service. The error says that
// there is no such port.
func Explain(in Input) (Report, error) {
	report := Report{Service: in.Service.Namespace + "/" + in.Service.Name, Client: in.Client}
	if !model.IsProxied(in.Service) {
		report.Notes = []string{"the Service has no cluster IP, or another proxy serves it: Fairlead programs nothing for it"}
		return report, nil
	}
	if err := in.checkPort(); err != nil {
		return report, err
	}
	e := explainer{Input: in, compiled: compile.Input{Service: in.Service, EndpointSlices: in.EndpointSlices}}
	e.read()
	report.Notes = e.notes()
	for i := range in.Nodes {
		report.add(e.node(&in.Nodes[i]))
	}
	if len(report.Nodes) == 0 {
		report.Notes = append(report.Notes, "no ProxyConfig selects a node that the connections arrive at")
	}
	return report, nil
}

// add joins nodes that do the same.
func (r *Report) add(n Nodes) {
	for i := range r.Nodes {
		same := n
		same.Names = r.Nodes[i].Names
		if reflect.DeepEqual(same, r.Nodes[i]) {
			r.Nodes[i].Names = append(r.Nodes[i].Names, n.Names...)
			return
		}
	}
	r.Nodes = append(r.Nodes, n)
}

func (in Input) checkPort() error {
	var known []string
	for _, p := range in.Service.Spec.Ports {
		if in.isPort(p.Name, p.Port) {
			return nil
		}
		known = append(known, cmp.Or(p.Name, strconv.Itoa(int(p.Port))))
	}
	if in.Port == "" {
		return nil
	}
	return fmt.Errorf("the Service has no port %s; it has %s", in.Port, strings.Join(known, ", "))
}

func (in Input) isPort(name string, number int32) bool {
	return in.Port == "" || in.Port == name || in.Port == strconv.Itoa(int(number))
}

// explainer is the state of Explain.
type explainer struct {
	Input
	compiled compile.Input
	parts    map[corev1.IPFamily][]*v1alpha1.ServiceRuleSliceSpec
	taken    map[model.FrontendKey]resolve.Conflict
	pods     map[netip.Addr]string
	unused   map[portOf][]compile.Unused // the same on all nodes
}

// portOf is a port of the Service in one family.
type portOf struct {
	family corev1.IPFamily
	port   v1alpha1.RulePort
}

// read sorts the slices of this Service from those of others, and finds the addresses and ports
// that another Service has.
func (e *explainer) read() {
	e.parts = map[corev1.IPFamily][]*v1alpha1.ServiceRuleSliceSpec{}
	e.taken = map[model.FrontendKey]resolve.Conflict{}
	others := map[model.ServiceID]*v1alpha1.ServiceRuleSliceSpec{}
	for i := range e.Slices {
		spec := &e.Slices[i].Spec
		if id := model.ServiceOf(spec); id.Namespace == e.Service.Namespace && id.Name == e.Service.Name {
			e.parts[id.Family] = append(e.parts[id.Family], spec)
		} else {
			others[id] = spec
		}
	}
	for family, parts := range e.parts {
		mine := resolve.ClaimsOf(e.id(family), parts[0])
		for id, spec := range others {
			if id.Family != family {
				continue
			}
			for _, c := range mine.Conflicts(resolve.ClaimsOf(id, spec)) {
				if c.Loser == e.id(family) {
					e.taken[c.Key] = c
				}
			}
		}
	}
	e.unused = map[portOf][]compile.Unused{}
	e.pods = map[netip.Addr]string{}
	for _, s := range e.EndpointSlices {
		for _, endpoint := range s.Endpoints {
			if ref := endpoint.TargetRef; ref != nil && ref.Kind == "Pod" && len(endpoint.Addresses) > 0 {
				if addr, err := model.ParseAddr(endpoint.Addresses[0]); err == nil {
					e.pods[addr] = ref.Name
				}
			}
		}
	}
}

func (e *explainer) id(family corev1.IPFamily) model.ServiceID {
	return model.ServiceID{Namespace: e.Service.Namespace, Name: e.Service.Name, Family: family}
}

// families are those of the slices, IPv4 first.
func (e *explainer) families() []corev1.IPFamily {
	return slices.DeleteFunc([]corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
		func(f corev1.IPFamily) bool { return len(e.parts[f]) == 0 })
}

// notes says what the controller leaves out, and whether the slices are those of the Service.
func (e *explainer) notes() []string {
	for family, parts := range e.parts {
		if e.compiled.Parts == nil {
			e.compiled.Parts = map[corev1.IPFamily]int32{}
		}
		e.compiled.Parts[family] = parts[0].Parts
	}
	result := compile.Service(e.compiled)
	var notes []string
	for _, p := range result.Problems {
		notes = append(notes, p.Object+": "+p.Message)
	}
	have := map[string]string{}
	for i := range e.Slices {
		have[e.Slices[i].Name] = e.Slices[i].Spec.Digest
	}
	for _, s := range result.Slices {
		if have[s.Name] != s.Spec.Digest {
			notes = append(notes, "ServiceRuleSlice "+s.Name+" is not up to date: the controller has not compiled the latest change")
		}
	}
	return notes
}

// node explains what one node does.
func (e *explainer) node(n *v1alpha1.NodeRuleSet) Nodes {
	out := Nodes{Names: []string{n.Name}, Mode: n.Status.Mode, Policy: n.Spec.Policy.Name, Problems: problemsOf(n)}
	out.Balancing = "Random"
	if out.Mode == v1alpha1.ModeIPVS {
		out.Balancing = "rr"
		if n.Spec.IPVS != nil && n.Spec.IPVS.Scheduler != "" {
			out.Balancing = n.Spec.IPVS.Scheduler
		}
	}
	node := resolve.Node{Name: n.Name, Spec: n.Spec}
	if err := e.Kernels[n.Name].Err; err != nil {
		out.Unread = err.Error()
	}
	settings, _ := resolve.Settings(n.Spec)
	for _, family := range e.families() {
		result, err := resolve.Service(node, e.id(family), e.parts[family])
		if err != nil {
			out.Problems = append(out.Problems, err.Error())
		}
		uses := resolve.Endpoints(node, e.id(family), e.parts[family])
		for i := range result.Frontends {
			f := &result.Frontends[i]
			p := slices.IndexFunc(uses, func(u resolve.PortUse) bool { return u.Port.Name == f.PortName })
			if p >= 0 && e.isPort(uses[p].Port.Name, uses[p].Port.Port) {
				frontend := e.frontend(f, settings, uses[p])
				frontend.Kernel = e.kernelOf(n.Name, f)
				out.Frontends = append(out.Frontends, frontend)
			}
		}
		for _, text := range e.parts[family][0].ExternalIPs {
			if addr, err := model.ParseAddr(text); err == nil && !model.AllowsExternalIP(n.Spec.ExternalIPs, addr) {
				out.Frontends = append(out.Frontends, Frontend{Address: addr.String(), Kind: model.KindExternalIP,
					Reason: "spec.externalIPs of the ProxyConfig does not allow the address"})
			}
		}
	}
	return out
}

// kernelOf returns what a node's kernel has of a frontend; nil: it was not read, or another Service has
// the address.
func (e *explainer) kernelOf(node string, f *model.Frontend) *Kernel {
	answer, read := e.Kernels[node]
	if _, lost := e.taken[f.Key]; !read || answer.Err != nil || lost {
		return nil
	}
	for _, held := range answer.Report.Frontends {
		if held.Address == f.Key.String() {
			return &Kernel{held.Present, held.Equal}
		}
	}
	return &Kernel{}
}

// problemsOf says why the kernel of a node may have other rules than these.
func problemsOf(n *v1alpha1.NodeRuleSet) []string {
	var out []string
	for _, c := range n.Status.Conditions {
		bad := c.Type == v1alpha1.ConditionDegraded && c.Status == "True" || c.Type == v1alpha1.ConditionProgrammed && c.Status != "True"
		if bad {
			out = append(out, c.Type+" "+string(c.Status)+", "+c.Reason+": "+c.Message)
		}
	}
	if meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionProgrammed) == nil {
		out = append(out, "the agent has reported nothing")
	}
	return out
}

func (e *explainer) frontend(f *model.Frontend, settings model.NodeSettings, use resolve.PortUse) Frontend {
	backend := e.Client.backend(f)
	out := Frontend{
		Address: f.Key.String(), Kind: f.Kind, Port: f.PortName, Verdict: backend.Verdict,
		AffinitySeconds: f.AffinityTimeoutSeconds, Restricted: f.Restricted,
	}
	sources := f.Sources
	if f.Kind == model.KindNodePort {
		out.Address, sources = strconv.Itoa(int(f.Key.Port))+"/"+f.Key.Protocol.String()+" ("+string(f.Service.Family)+")", settings.NodePortSources
	}
	for _, p := range sources {
		out.Sources = append(out.Sources, p.String())
	}
	if taken, lost := e.taken[f.Key]; lost {
		out.Verdict, out.Reason = "", fmt.Sprintf("Service %s/%s has this address and port, as %s", taken.Winner.Namespace, taken.Winner.Name, taken.WinnerKind)
		return out
	}
	switch {
	case e.Client.denied(f, settings.NodePortSources):
		out.Verdict, out.Reason = model.Drop, "the client is not among the allowed sources"
	case backend.Verdict == model.Reject:
		out.Reason = "no endpoint is ready"
	case backend.Verdict == model.Drop:
		out.Reason = "the traffic policy is Local, and no endpoint on the node is ready"
	default:
		out.Masquerade = e.Client.masqueraded(backend.Masquerade)
	}
	out.Endpoints = e.endpoints(f, backend, use, out.Verdict)
	return out
}

// endpoints lists those that get connections first.
func (e *explainer) endpoints(f *model.Frontend, backend model.Backend, use resolve.PortUse, verdict model.Verdict) []Endpoint {
	var used, unused []Endpoint
	local := backend.Local || backend.Verdict == model.Drop // only a policy Local drops
	for _, u := range use.Endpoints {
		reason := u.Cluster
		if local {
			reason = u.Local
		}
		endpoint := Endpoint{Address: u.Endpoint.String(), Node: u.NodeName, Pod: e.pods[u.Endpoint.Addr()], Unused: reason}
		if reason != "" {
			unused = append(unused, endpoint)
			continue
		}
		if verdict == model.Forward {
			endpoint.Share = 100 / float64(len(backend.Endpoints))
		}
		used = append(used, endpoint)
	}
	for _, u := range e.unusedOf(portOf{f.Service.Family, use.Port}) {
		address := u.Address.String()
		if u.TargetPort != 0 {
			address = netip.AddrPortFrom(u.Address, uint16(u.TargetPort)).String()
		}
		unused = append(unused, Endpoint{Address: address, Node: u.NodeName, Pod: e.pods[u.Address], Unused: u.Reason})
	}
	slices.SortStableFunc(unused, func(a, b Endpoint) int { return cmp.Compare(a.Address, b.Address) })
	return append(used, unused...)
}

// unusedOf returns the endpoints that no node uses for a port.
func (e *explainer) unusedOf(p portOf) []compile.Unused {
	if _, known := e.unused[p]; !known {
		e.unused[p] = compile.UnusedEndpoints(e.compiled, p.family, p.port)
	}
	return e.unused[p]
}
