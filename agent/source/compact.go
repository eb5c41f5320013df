// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"slices"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

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
