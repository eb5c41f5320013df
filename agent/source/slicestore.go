// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"slices"
	"unique"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// sliceStore holds slices, by name and by Service.
type sliceStore struct {
	specs  map[string]*v1alpha1.ServiceRuleSliceSpec
	parts  map[model.ServiceID][]string // in specs
	digest uint64                       // XOR of the slices' digests
	usable int                          // endpoints, see usable
}

func newSliceStore() sliceStore {
	return sliceStore{specs: map[string]*v1alpha1.ServiceRuleSliceSpec{}, parts: map[model.ServiceID][]string{}}
}

// set replaces a slice; nil deletes it. It returns the Services whose slices changed, the
// one before and the one now; changed is false if the slice is the same.
//
// Slices are compared by their content. An equal digest says only that the controller has
// compiled the same: this agent, or an older version of it that has written the checkpoint,
// or an older schema in the apiserver, may have dropped fields that it did not know.
func (s *sliceStore) set(name string, spec *v1alpha1.ServiceRuleSliceSpec) (services []model.ServiceID, changed bool) {
	old := s.specs[name]
	if old == nil && spec == nil || old != nil && spec != nil && equalSpecs(old, spec) {
		return nil, false
	}
	if old != nil {
		id := model.ServiceOf(old)
		s.parts[id] = slices.DeleteFunc(s.parts[id], func(part string) bool { return part == name })
		if len(s.parts[id]) == 0 {
			delete(s.parts, id)
		}
		delete(s.specs, name)
		s.digest ^= model.DigestNumber(old.Digest)
		s.usable -= countUsable(old)
		services = append(services, id)
	}
	if spec != nil {
		spec = compact(spec)
		id := model.ServiceOf(spec)
		s.parts[id] = append(s.parts[id], name)
		s.specs[name] = spec
		s.digest ^= model.DigestNumber(spec.Digest)
		s.usable += countUsable(spec)
		services = append(services, id)
	}
	return services, true
}

// partsOf returns the slices of a Service.
func (s *sliceStore) partsOf(id model.ServiceID) []*v1alpha1.ServiceRuleSliceSpec {
	var parts []*v1alpha1.ServiceRuleSliceSpec
	for _, name := range s.parts[id] {
		parts = append(parts, s.specs[name])
	}
	return parts
}

// loss counts the usable endpoints that a Service loses if one of its slices is replaced
// (nil: deleted): those that are in no other part.
func (s *sliceStore) loss(name string, spec *v1alpha1.ServiceRuleSliceSpec) int {
	old := s.specs[name]
	if old == nil {
		return 0
	}
	lost := usableOf(old)
	remove(lost, spec)
	for _, part := range s.parts[model.ServiceOf(old)] {
		if len(lost) == 0 {
			break
		}
		if part != name {
			remove(lost, s.specs[part])
		}
	}
	return len(lost)
}

// usable says whether an endpoint is used for new connections.
func usable(e *v1alpha1.RuleEndpoint) bool {
	switch e.State {
	case "", v1alpha1.EndpointReady, v1alpha1.EndpointTerminating:
		return slices.ContainsFunc(e.TargetPorts, func(port int32) bool { return port != 0 })
	}
	return false
}

// countUsable counts the usable endpoints of a slice; nil: it has none.
func countUsable(spec *v1alpha1.ServiceRuleSliceSpec) int {
	if spec == nil {
		return 0
	}
	n := 0
	for i := range spec.Endpoints {
		if usable(&spec.Endpoints[i]) {
			n++
		}
	}
	return n
}

// usableOf returns the addresses of the usable endpoints of some slices of a Service.
func usableOf(specs ...*v1alpha1.ServiceRuleSliceSpec) map[string]struct{} {
	out := map[string]struct{}{}
	for _, spec := range specs {
		for i := range spec.Endpoints {
			if e := &spec.Endpoints[i]; usable(e) {
				out[e.Address] = struct{}{}
			}
		}
	}
	return out
}

// remove removes the usable endpoints of a slice from a set of addresses; nil: it has none.
func remove(from map[string]struct{}, spec *v1alpha1.ServiceRuleSliceSpec) {
	if spec == nil {
		return
	}
	for i := range spec.Endpoints {
		if e := &spec.Endpoints[i]; usable(e) {
			delete(from, e.Address)
		}
	}
}

// compact returns a spec in less memory. What a JSON decoder makes has room to
// grow and each string once more; of all slices together that is a third.
func compact(in *v1alpha1.ServiceRuleSliceSpec) *v1alpha1.ServiceRuleSliceSpec {
	out := *in // else the object that the spec is a part of stays too
	out.ServiceNamespace = unique.Make(in.ServiceNamespace).Value()
	out.Endpoints = slices.Clone(in.Endpoints)
	ports := make([]int32, 0, len(in.Endpoints)*len(in.Ports))
	for i := range out.Endpoints {
		e := &out.Endpoints[i]
		e.NodeName = unique.Make(e.NodeName).Value()
		first := len(ports)
		ports = append(ports, e.TargetPorts...)
		e.TargetPorts = ports[first:len(ports):len(ports)]
	}
	return &out
}
