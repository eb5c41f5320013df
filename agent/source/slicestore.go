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
		services = append(services, id)
	}
	if spec != nil {
		spec = compact(spec)
		id := model.ServiceOf(spec)
		s.parts[id] = append(s.parts[id], name)
		s.specs[name] = spec
		s.digest ^= model.DigestNumber(spec.Digest)
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

// endpoints counts the endpoints of all slices.
func (s *sliceStore) endpoints() int {
	n := 0
	for _, spec := range s.specs {
		n += len(spec.Endpoints)
	}
	return n
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
