// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cases reads the table of cases: what happens to a packet for a Service,
// in every situation that the Service API knows. The cases are the *.yaml files
// of this folder, README.md describes their form. One table is run by several
// runners: against the pure functions of package rules, against the real kernel,
// and against kube-proxy.
package cases

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Runner is the name of a runner, as in the field notYet of a case.
type Runner string

// The runners.
const (
	Pure     Runner = "pure"
	NFTables Runner = "nftables"
	IPVS     Runner = "ipvs"
	// IPTables is a mode with two runners, one for each variant of iptables.
	IPTables       Runner = "iptables"
	IPTablesLegacy Runner = "iptables legacy"
	IPTablesNFT    Runner = "iptables nft"
	// Userspace expects of all connections that endpoints see the node's address.
	Userspace Runner = "userspace"

	// With kube-proxy in the place of the agent.
	KubeProxyNFTables Runner = "kube-proxy nftables"
	KubeProxyIPTables Runner = "kube-proxy iptables"
)

// Modes are the runners with the agent, by its mode.
var Modes = []Runner{NFTables, IPVS, IPTables, Userspace}

// Runners are all runners.
var Runners = []Runner{Pure, NFTables, IPVS, IPTablesLegacy, IPTablesNFT, Userspace, KubeProxyNFTables, KubeProxyIPTables}

// mode is the mode of a runner with the agent; others are their own.
func (r Runner) mode() Runner {
	if r == IPTablesLegacy || r == IPTablesNFT {
		return IPTables
	}
	return r
}

// File is one of the *.yaml files: a group of cases.
type File struct {
	// Description says what the group is about.
	Description string `json:"description"`
	Cases       []Case `json:"cases"`
}

// Case is a node with Services, packets, and what must happen to them.
type Case struct {
	// Name starts with the label of the case in its group, such as C1.
	Name string `json:"name"`
	// Description says what is special, unless the name says it all.
	Description string `json:"description,omitempty"`

	// V4Only is the reason why the case has no IPv6 twin. See README.md.
	V4Only string `json:"v4only,omitempty"`

	// NotYet is the reason why a runner skips the case.
	NotYet map[Runner]string `json:"notYet,omitempty"`

	// Without names the modes that cannot have what the case is about, and why.
	Without map[Runner]string `json:"without,omitempty"`

	// The case itself, and what follows it.
	Step
	Steps []Step `json:"steps,omitempty"`

	// Family is IPv4 or IPv6. The latter is the twin, made by the loader.
	Family string `json:"-"`
	// Group is the name of the file.
	Group string `json:"-"`
}

// Step is a change, and packets that are sent after it.
type Step struct {
	// Then says what the change is about.
	Then string `json:"then,omitempty"`

	// Node and Config replace the given fields of the node and its policy.
	Node   *Node           `json:"node,omitempty"`
	Config json.RawMessage `json:"config,omitempty"`
	// ServiceCIDRs are the ranges that the apiserver allocates ClusterIPs from. Without
	// any, unallocated addresses are unknown.
	ServiceCIDRs []string `json:"serviceCIDRs,omitempty"`

	// Services and EndpointSlices are added, or replace those of the same name.
	Services       []Service                   `json:"services,omitempty"`
	EndpointSlices []discoveryv1.EndpointSlice `json:"endpointSlices,omitempty"`
	// Delete names Services, with the slices of their short form, and EndpointSlices.
	Delete []string `json:"delete,omitempty"`

	// Restart restarts the agent after the changes.
	Restart bool `json:"restart,omitempty"`

	// IdleSeconds is how long nothing happens before the packets are sent.
	IdleSeconds float64 `json:"idleSeconds,omitempty"`

	Flows  []Flow   `json:"flows,omitempty"`
	Health []Health `json:"health,omitempty"`
}

// Health is a request from outside to one of the node's health servers.
type Health struct {
	Get string `json:"get"`

	// Status is the code of the answer; Refused means that no process listens.
	Status  int  `json:"status,omitempty"`
	Refused bool `json:"refused,omitempty"`

	// LocalEndpoints is what a healthCheckNodePort says of the Service.
	LocalEndpoints *int `json:"localEndpoints,omitempty"`
}

// Node is what of the node differs from the ordinary one of the cases.
type Node struct {
	Zone     string         `json:"zone,omitempty"`
	PodCIDRs []string       `json:"podCIDRs,omitempty"`
	Taints   []corev1.Taint `json:"taints,omitempty"`
}

// Title names a case and its family.
func (c Case) Title() string { return c.Group + "/" + c.Name + "/" + c.Family }

// Skip returns why a runner skips the case; empty: it does not.
func (c Case) Skip(runner Runner) string {
	return cmp.Or(c.NotYet[runner], c.NotYet[runner.mode()], c.Without[runner.mode()])
}

// For returns the case as a runner has to see it: with what our mode, or kube-proxy,
// does instead, and without what is undefined there.
func (c Case) For(runner Runner) Case {
	proxied := runner == Userspace
	c.Step = c.Step.forRunner(runner, &proxied)
	c.Steps = slices.Clone(c.Steps)
	for i := range c.Steps {
		c.Steps[i] = c.Steps[i].forRunner(runner, &proxied)
	}
	return c
}

// forRunner returns the step as a runner has to see it. proxied says whether the
// agent itself proxies, until the policy says another mode.
func (s Step) forRunner(runner Runner, proxied *bool) Step {
	var config v1alpha1.ProxyConfigSpec
	if json.Unmarshal(s.Config, &config) == nil && config.Mode != "" {
		*proxied = config.Mode == v1alpha1.ModeUserspace
	}
	flows := s.Flows
	s.Flows = nil
	for _, f := range flows {
		if f.Expect = f.expectOf(runner); *proxied && f.Expect.Source == Kept && !f.exact(runner) {
			f.Expect.Source = Masqueraded // see README.md
		}
		if f.Expect.Verdict != Undefined {
			s.Flows = append(s.Flows, f)
		}
	}
	return s
}

// AllSteps are the case itself and the steps after it.
func (c Case) AllSteps() []Step { return append([]Step{c.Step}, c.Steps...) }

// Load reads the cases of a folder, each followed by its IPv6 twin.
func Load(folder string) ([]Case, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var all []Case
	for _, path := range paths {
		more, err := loadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
		all = append(all, more...)
	}
	return all, nil
}

func loadFile(path string) ([]Case, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	written, err := decode(tree)
	if err != nil {
		return nil, err
	}
	twins, err := decode(twinCases(tree))
	if err != nil {
		return nil, fmt.Errorf("IPv6 twin: %w", err)
	}
	for i, c := range written.Cases {
		if c.Name == "" {
			return nil, fmt.Errorf("case %d has no name", i)
		}
	}
	group := strings.TrimSuffix(filepath.Base(path), ".yaml")
	var all []Case
	for i, c := range written.Cases {
		if slices.ContainsFunc(all, func(o Case) bool { return o.Name == c.Name }) {
			return nil, fmt.Errorf("two cases have the name %q", c.Name)
		}
		c.Family, c.Group = "IPv4", group
		all = append(all, c)
		if c.V4Only == "" {
			t := twins.Cases[i]
			t.Family, t.Group = "IPv6", group
			all = append(all, t)
		}
	}
	return all, nil
}

func decode(tree any) (File, error) {
	var f File
	text, err := json.Marshal(tree)
	if err != nil {
		return f, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, err
	}
	for _, c := range f.Cases {
		if err := c.check(); err != nil {
			return f, fmt.Errorf("case %q: %w", c.Name, err)
		}
	}
	return f, nil
}

func (c Case) check() error {
	for mode, reason := range c.Without {
		if !slices.Contains(Modes, mode) || reason == "" {
			return fmt.Errorf("without: %q must be one of %q, with a reason", mode, Modes)
		}
	}
	for runner, reason := range c.NotYet {
		if !slices.Contains(Runners, runner) || reason == "" {
			return fmt.Errorf("notYet: %q must be a runner, with a reason", runner)
		}
	}
	for i, step := range c.AllSteps() {
		for _, f := range step.Flows {
			if err := f.check(); err != nil {
				return fmt.Errorf("step %d: flow to %s: %w", i, f.To, err)
			}
		}
	}
	return nil
}
