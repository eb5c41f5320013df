// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inspection is what a node's kernel has of Services, as `fairlead-agent inspect` prints
// it in JSON and `kubectl fairlead` reads it.
package inspection

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Version is that of the JSON. A field that is added does not change it; agent and plugin may be of
// different releases.
const Version = "v1"

// Report is what is in a node's kernel, and how it differs from what its agent has programmed.
type Report struct {
	// Version is Version.
	Version string `json:"version"`
	Node    string `json:"node"`
	// Mode is the active mode.
	Mode v1alpha1.ProxyMode `json:"mode"`
	// Generation is that of the NodeRuleSet, and RulesDigest that of all Services' rules, which the
	// agent says it has programmed.
	Generation  int64  `json:"generation,omitempty"`
	RulesDigest string `json:"rulesDigest,omitempty"`
	// Unsettled is why the agent has more to program: the kernel is behind, which is no drift.
	Unsettled string `json:"unsettled,omitempty"`
	// Frontends are sorted by address.
	Frontends []Frontend `json:"frontends,omitempty"`
	// Differences are sorted by object. Empty: the kernel has exactly what is desired.
	Differences []Difference `json:"differences,omitempty"`
}

// Frontend is an address and port of a Service.
type Frontend struct {
	// Service is namespace/name; empty: no Service has the address, and the agent will remove it.
	Service string     `json:"service,omitempty"`
	Port    string     `json:"port,omitempty"` // its name
	Kind    model.Kind `json:"kind,omitempty"`
	// Address is address, port and protocol; that of a node port is 0.0.0.0 or [::].
	Address string `json:"address"`
	// Present says whether the kernel has it, Equal whether all of it is as desired.
	Present bool `json:"present"`
	Equal   bool `json:"equal"`
	// Internal is what the kernel does with connections of the node and its Pods, External with all
	// others; nil: the same.
	Internal *Backend `json:"internal,omitempty"`
	External *Backend `json:"external,omitempty"`
	// Rules are the objects in the kernel, in the syntax of the mode's own tool: commands of nft,
	// lines of iptables-save and of ipvsadm -Sn.
	Rules []string `json:"rules,omitempty"`
}

// Backend is what the kernel does with a connection. No verdict: nothing of ours.
type Backend struct {
	Verdict model.Verdict `json:"verdict,omitempty"`
	// Endpoints are address and port, sorted.
	Endpoints []string `json:"endpoints,omitempty"`
}

// Problem is how the kernel differs.
type Problem string

// The problems.
const (
	// Missing: the kernel does not have the object.
	Missing Problem = "Missing"
	// Different: it has another content.
	Different Problem = "Different"
	// Superfluous: it has an object among ours that is not desired.
	Superfluous Problem = "Superfluous"
)

// Difference is an object in the kernel that the agent would repair.
type Difference struct {
	// Object is for example "endpoints of 10.96.0.1:80/tcp" or "chain ip fairlead frontends".
	Object  string  `json:"object"`
	Problem Problem `json:"problem"`
	// Services are namespace/name of those that the object is for; none: it is for all, or for none.
	Services []string `json:"services,omitempty"`
	// Have and Want are its contents, where they are short.
	Have string `json:"have,omitempty"`
	Want string `json:"want,omitempty"`
}

// Sort puts everything in order.
func (r *Report) Sort() {
	slices.SortFunc(r.Frontends, func(a, b Frontend) int { return strings.Compare(a.Address, b.Address) })
	slices.SortFunc(r.Differences, func(a, b Difference) int { return strings.Compare(a.Object, b.Object) })
}

// Filter says what to print of a report. The zero value is everything.
type Filter struct {
	// Service is namespace/name.
	Service string
	// Port is the name or number of a port of the Service; empty: all.
	Port string
	// OnlyDifferences leaves out frontends.
	OnlyDifferences bool
}

// Shows says whether a frontend is wanted; nil: one that no Service has.
func (f Filter) Shows(of *model.Frontend) bool {
	switch {
	case f.OnlyDifferences:
		return false
	case f.Service == "":
		return true
	case of == nil:
		return false
	}
	return f.Service == ServiceOf(of) && (f.Port == "" || f.Port == of.PortName || f.Port == strconv.Itoa(int(of.Home().Port)))
}

// ServiceOf returns namespace/name.
func ServiceOf(f *model.Frontend) string { return f.Service.Namespace + "/" + f.Service.Name }

// Differences returns those that concern a Service: its own, and those that concern all or none.
func (f Filter) Differences(all []Difference) []Difference {
	if f.Service == "" {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(d Difference) bool {
		return len(d.Services) > 0 && !slices.Contains(d.Services, f.Service)
	})
}
