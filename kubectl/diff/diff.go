// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package diff says what a ProxyConfig would change on the nodes, before it is applied.
package diff

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// Input is what a Report follows from.
type Input struct {
	// New are the ProxyConfigs as they would be.
	New []v1alpha1.ProxyConfig

	Configs      []v1alpha1.ProxyConfig
	Nodes        []corev1.Node
	Rules        []v1alpha1.NodeRuleSet // that the nodes have now
	ServiceCIDRs []networkingv1.ServiceCIDR
}

// Report is what would change, for nodes with the same changes together.
type Report struct {
	Groups []Group `json:"groups"`
	// Unchanged are the nodes that would have the rules they have.
	Unchanged []string `json:"unchanged,omitempty"`
}

// Group are nodes with the same changes.
type Group struct {
	Nodes []string `json:"nodes"`
	// Before and After are the names of the ProxyConfigs; empty: none.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Runs is the mode that the nodes run now, Will the one that they would: the first one asked for
	// that they support. Auto: each node chooses.
	Runs v1alpha1.ProxyMode `json:"runs,omitempty"`
	Will v1alpha1.ProxyMode `json:"will,omitempty"`
	// Unsupported are modes asked for that the nodes cannot run, and why.
	Unsupported []string `json:"unsupported,omitempty"`
	Changes     []Change `json:"changes,omitempty"`
}

// Change is a changed field of a node's rules, by its path. Its values are JSON; empty: not set.
type Change struct {
	Field string `json:"field"`
	Now   string `json:"now,omitempty"`
	Then  string `json:"then,omitempty"`
}

// Of returns what would change. The error is about a ProxyConfig with an invalid selector.
func Of(in Input) (Report, error) {
	report := Report{Groups: []Group{}}
	configs := map[string]v1alpha1.ProxyConfig{}
	for _, c := range slices.Concat(in.Configs, in.New) {
		configs[c.Name] = c
	}
	then := slices.Collect(maps.Values(configs))
	rules := map[string]*v1alpha1.NodeRuleSet{}
	for i := range in.Rules {
		rules[in.Rules[i].Name] = &in.Rules[i]
	}
	slices.SortFunc(in.Nodes, func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for i := range in.Nodes {
		node := &in.Nodes[i]
		group, err := of(node, rules[node.Name], then, in.ServiceCIDRs)
		switch {
		case err != nil:
			return report, err
		case group.Before == group.After && len(group.Changes) == 0:
			report.Unchanged = append(report.Unchanged, node.Name)
		default:
			report.add(group)
		}
	}
	return report, nil
}

// add joins nodes with the same changes.
func (r *Report) add(g Group) {
	for i := range r.Groups {
		same := g
		same.Nodes = r.Groups[i].Nodes
		if reflect.DeepEqual(same, r.Groups[i]) {
			r.Groups[i].Nodes = append(r.Groups[i].Nodes, g.Nodes...)
			return
		}
	}
	r.Groups = append(r.Groups, g)
}

// of returns what would change on a node. A node on its way to a revision counts with what it has now.
func of(node *corev1.Node, now *v1alpha1.NodeRuleSet, configs []v1alpha1.ProxyConfig, cidrs []networkingv1.ServiceCIDR) (Group, error) {
	g := Group{Nodes: []string{node.Name}}
	var before, after v1alpha1.NodeRuleSetSpec
	if now != nil && now.Spec.CleanUpSince == nil {
		before, g.Before, g.Runs = now.Spec, now.Spec.Policy.Name, now.Status.Mode
	}
	config, _, err := compile.SelectConfig(node, configs)
	if err != nil {
		return g, err
	}
	if config != nil {
		after, _ = compile.Node(compile.NodeInput{Node: node, Config: config, ServiceCIDRs: cidrs})
		g.After = config.Name
		g.Will, g.Unsupported = will(config, now)
	}
	g.Changes, err = changes(before, after)
	return g, err
}

// will returns the mode that a node would run, and why it runs none of those before it. A mode that its
// agent has not looked at counts as one that it can run, as in a rollout.
func will(config *v1alpha1.ProxyConfig, now *v1alpha1.NodeRuleSet) (mode v1alpha1.ProxyMode, unsupported []string) {
	if now == nil || config.Spec.Mode == v1alpha1.ModeAuto {
		return config.Spec.Mode, nil
	}
	for _, mode := range append([]v1alpha1.ProxyMode{config.Spec.Mode}, config.Spec.FallbackModes...) {
		i := slices.IndexFunc(now.Status.Capabilities, func(c v1alpha1.ModeCapability) bool { return c.Mode == mode })
		if i < 0 {
			return mode, unsupported
		}
		why := rollout.Unsupported(config.Spec, now.Status.Capabilities[i])
		if why == "" {
			return mode, unsupported
		}
		unsupported = append(unsupported, why)
	}
	return now.Status.Mode, unsupported // a node that can run none keeps the one that it has
}

// ours are the fields of a node's rules that do not come from the policy: who has it, since when, how
// it is rolled out, and facts of the node and the cluster.
var ours = []string{"policy", "revision", "assignedTime", "checks", "nodeDeadlineSeconds", "node", "serviceCIDRs", "cleanUpSince"}

func changes(before, after v1alpha1.NodeRuleSetSpec) ([]Change, error) {
	now, err := fields(before)
	if err != nil {
		return nil, err
	}
	then, err := fields(after)
	if err != nil {
		return nil, err
	}
	var out []Change
	paths := maps.Clone(now)
	maps.Copy(paths, then)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if now[path] != then[path] {
			out = append(out, Change{path, now[path], then[path]})
		}
	}
	return out, nil
}

// fields returns the values of a policy's fields by path.
func fields(spec v1alpha1.NodeRuleSetSpec) (map[string]string, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode the rules of a node: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("decode the rules of a node: %w", err)
	}
	for _, field := range ours {
		delete(tree, field)
	}
	out := map[string]string{}
	return out, flatten("", tree, out)
}

func flatten(path string, value any, out map[string]string) error {
	object, is := value.(map[string]any)
	if !is {
		text, err := json.Marshal(value)
		if string(text) != `""` {
			out[path] = string(text)
		}
		return err
	}
	for key, v := range object {
		inner := key
		if path != "" {
			inner = path + "." + key
		}
		if err := flatten(inner, v, out); err != nil {
			return err
		}
	}
	return nil
}
