// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"slices"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// sliceStore holds slices, by name and by Service.
type sliceStore struct {
	specs  map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec
	parts  map[model.ServiceID][]types.NamespacedName // in specs
	digest uint64                                     // XOR of the slices' digests
}

func newSliceStore() sliceStore {
	return sliceStore{specs: map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec{}, parts: map[model.ServiceID][]types.NamespacedName{}}
}

// set replaces a slice; nil deletes it. It returns the Services whose slices changed, the
// one before and the one now; changed is false if the slice is the same.
func (s *sliceStore) set(name types.NamespacedName, spec *v1alpha1.ServiceRuleSliceSpec) (services []model.ServiceID, changed bool) {
	old := s.specs[name]
	if old == nil && spec == nil || old != nil && spec != nil && old.Digest == spec.Digest {
		return nil, false
	}
	if old != nil {
		id := ServiceOf(name, old)
		s.parts[id] = slices.DeleteFunc(s.parts[id], func(part types.NamespacedName) bool { return part == name })
		if len(s.parts[id]) == 0 {
			delete(s.parts, id)
		}
		delete(s.specs, name)
		s.digest ^= model.DigestNumber(old.Digest)
		services = append(services, id)
	}
	if spec != nil {
		spec = compact(spec)
		id := ServiceOf(name, spec)
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

// ServiceOf returns the Service, in one IP family, that a slice is of.
func ServiceOf(name types.NamespacedName, spec *v1alpha1.ServiceRuleSliceSpec) model.ServiceID {
	return model.ServiceID{Namespace: name.Namespace, Name: spec.ServiceName, Family: spec.AddressFamily}
}

// compact returns a spec in less memory. What a JSON decoder makes has room to
// grow and each string once more; of all slices together that is a third.
func compact(in *v1alpha1.ServiceRuleSliceSpec) *v1alpha1.ServiceRuleSliceSpec {
	out := *in // else the object that the spec is a part of stays too
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

// dropMetadata takes everything from a slice's metadata but the names.
func dropMetadata(obj any) (any, error) {
	if slice, ok := obj.(*v1alpha1.ServiceRuleSlice); ok {
		slice.ObjectMeta = metav1.ObjectMeta{Namespace: slice.Namespace, Name: slice.Name}
	}
	return obj, nil
}
