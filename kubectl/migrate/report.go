// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/check"
	rules "github.com/fairlead-proxy/fairlead/rules/rollout"
	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// one is a check: what it looks for in the facts.
type one struct {
	name, fix, docs string
	find            func(*Facts) []string
}

var categories = []struct {
	name   string
	checks []one
}{
	{"kube-proxy", []one{
		{"its configuration can be read", "write what its flags or its configuration say into a ProxyConfig by hand",
			"docs/migration.md#before", unread},
		{"all its settings have a counterpart", "decide whether you need them before you take over",
			"docs/migration.md#before", func(f *Facts) []string { return f.settings.lost() }},
		{"its DaemonSet is there, and belongs to nothing else", "change it there, as the message says; without a DaemonSet, end kube-proxy as it was started",
			"docs/semantics.md#taking-over-from-kube-proxy", owned},
	}},
	{"Policy", []one{
		{"the ProxyConfig has kube-proxy's settings", "write them into it, if you want to keep them: kubectl fairlead check --migrate -o proxyconfig",
			"docs/migration.md#before", differs},
		{"node ports stay at the addresses that have them", "set nodePort.addresses of the ProxyConfig as -o proxyconfig prints it, or make sure that no client uses these",
			"docs/semantics.md#where-a-connection-goes", nodePorts},
		{"external IPs of Services stay", "set externalIPs.policy: Allow in the ProxyConfig, with allowedCIDRs if you can",
			"docs/semantics.md#external-ips", externalIPs},
	}},
	{"Nodes", []one{
		{"nodes support the mode", "set fallbackModes or another mode in the ProxyConfig, or load the modules on the node",
			"docs/modes.md#what-each-mode-needs", unfit},
	}},
	{"Services", []one{
		{"the mode supports all Services", "choose another mode, or change the Services",
			"docs/semantics.md#limits-of-the-modes", unsupported},
	}},
}

// Of returns the report of the facts.
func Of(f *Facts) check.Report {
	var out check.Report
	for _, category := range categories {
		c := check.Category{Name: category.name}
		for _, one := range category.checks {
			r := check.Result{Name: one.name, Found: one.find(f)}
			if r.Pass = len(r.Found) == 0; !r.Pass {
				slices.Sort(r.Found)
				r.Fix, r.Docs = one.fix, one.docs
			}
			c.Checks = append(c.Checks, r)
		}
		out.Categories = append(out.Categories, c)
	}
	return out
}

func unread(f *Facts) []string {
	if f.problem != nil {
		return []string{f.problem.Error()}
	}
	return nil
}

func owned(f *Facts) []string {
	if f.DaemonSet == nil {
		return []string{"there is no DaemonSet " + namespace + "/" + kubeProxy}
	}
	if owner := takeover.OwnerOf(f.DaemonSet); owner != "" {
		return []string{takeover.Advice(f.DaemonSet, owner)}
	}
	return nil
}

// policy is the ProxyConfig that is there, or what one without any settings would be.
func (f *Facts) policy() v1alpha1.ProxyConfigSpec {
	if len(f.Configs) > 0 {
		return f.Configs[0].Spec
	}
	return v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeAuto, NodePort: v1alpha1.NodePortOptions{Addresses: []string{v1alpha1.NodePortPrimary}}}
}

// differs compares the fields that kube-proxy's settings ask for; its mode need not be kept, and other
// checks are about addresses.
func differs(f *Facts) []string {
	if f.problem != nil || len(f.Configs) == 0 {
		return nil
	}
	now, want := fieldsOf(f.policy()), fieldsOf(f.proposed)
	var out []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		other := path == "mode" || strings.HasPrefix(path, "nodePort.") || strings.HasPrefix(path, "externalIPs.") ||
			strings.HasPrefix(path, "ipvs.") && f.policy().Mode != v1alpha1.ModeIPVS
		if !other && !reflect.DeepEqual(now[path], want[path]) {
			has := "none"
			if now[path] != nil {
				has = fmt.Sprint(now[path])
			}
			out = append(out, fmt.Sprintf("%s: kube-proxy has %v, ProxyConfig %s has %s", path, want[path], f.Configs[0].Name, has))
		}
	}
	return out
}

// fieldsOf returns the fields of a policy by their path.
func fieldsOf(spec v1alpha1.ProxyConfigSpec) settings {
	text, err := json.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("encode a ProxyConfig: %v", err))
	}
	out, err := parse(string(text))
	if err != nil {
		panic(fmt.Sprintf("read what was just encoded: %v", err))
	}
	return out
}

// nodePorts finds addresses in the Nodes' status that kube-proxy answers and the policy does not. Other
// addresses of the nodes are not in the API.
func nodePorts(f *Facts) []string {
	used := slices.ContainsFunc(f.Services, func(s corev1.Service) bool {
		return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.NodePort != 0 })
	})
	if !used || f.problem != nil {
		return nil
	}
	want, now := f.proposed.NodePort.Addresses, f.policy().NodePort.Addresses
	var out []string
	for i := range f.Nodes {
		if lost := slices.DeleteFunc(selected(&f.Nodes[i], want), func(a string) bool { return slices.Contains(selected(&f.Nodes[i], now), a) }); len(lost) > 0 {
			out = append(out, f.Nodes[i].Name+": "+strings.Join(lost, ", "))
		}
	}
	if slices.Contains(want, v1alpha1.NodePortAll) && !slices.Contains(now, v1alpha1.NodePortAll) {
		out = append(out, "all nodes: addresses that are not in the Node's status, such as those of bridges and virtual addresses")
	}
	if slices.Contains(want, v1alpha1.NodePortLocalhost) && !slices.Contains(now, v1alpha1.NodePortLocalhost) {
		out = append(out, "all nodes: 127.0.0.1")
	}
	return out
}

// selected returns the addresses in a Node's status that are selected. Primary is all of them.
func selected(n *corev1.Node, from []string) []string {
	var out []string
	for _, a := range n.Status.Addresses {
		ip, err := netip.ParseAddr(a.Address)
		if err == nil && slices.ContainsFunc(from, func(from string) bool {
			prefix, err := netip.ParsePrefix(from)
			return from == v1alpha1.NodePortPrimary || from == v1alpha1.NodePortAll || err == nil && prefix.Contains(ip)
		}) {
			out = append(out, a.Address)
		}
	}
	return out
}

func externalIPs(f *Facts) []string {
	if f.policy().ExternalIPs.Policy == v1alpha1.ExternalIPAllow {
		return nil
	}
	return namesOf(f.Services, hasExternalIPs)
}

// namesOf returns the first Services with a property.
func namesOf(services []corev1.Service, has func(corev1.Service) bool) []string {
	const most = 10
	var out []string
	for i := range services {
		if s := &services[i]; has(*s) {
			out = append(out, "Service "+s.Namespace+"/"+s.Name)
		}
	}
	if len(out) > most {
		slices.Sort(out)
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return out
}

// unfit knows nodes with an agent. Before the installation none is known.
func unfit(f *Facts) []string {
	spec := f.proposed
	if len(f.Configs) > 0 {
		spec = f.policy()
	}
	capabilities := map[string][]v1alpha1.ModeCapability{}
	for i := range f.Reported {
		capabilities[f.Reported[i].Name] = f.Reported[i].Status.Capabilities
	}
	if problem := rules.Precheck(spec, capabilities); problem != "" {
		return []string{problem}
	}
	return nil
}

// unsupported finds what the mode of the policy does not do, and kube-proxy does.
func unsupported(f *Facts) []string {
	spec := f.proposed
	if len(f.Configs) > 0 {
		spec = f.policy()
	}
	switch spec.Mode {
	case v1alpha1.ModeUserspace:
		return namesOf(f.Services, func(s corev1.Service) bool {
			return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Protocol == corev1.ProtocolSCTP })
		})
	case v1alpha1.ModeIPVS:
		if slices.Contains(spec.NodePort.Addresses, v1alpha1.NodePortLocalhost) {
			return []string{"node ports on 127.0.0.1"}
		}
	}
	return nil
}
