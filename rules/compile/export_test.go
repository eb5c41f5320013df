// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// MaxServiceCIDRs is exported for the tests in package compile_test.
const MaxServiceCIDRs = maxServiceCIDRs

// Parts compiles the IPv4 rules of a Service into a number of parts, whatever
// the number of its endpoints.
func Parts(in Input, parts int32) []v1alpha1.ServiceRuleSliceSpec {
	header := Service(Input{Service: in.Service}).Slices[0].Spec
	header.AddressFamily = corev1.IPv4Protocol
	endpoints := compileEndpoints(in, &header, &problemList{})
	out := make([]v1alpha1.ServiceRuleSliceSpec, parts)
	for i := range out {
		out[i] = header
		out[i].Part, out[i].Parts = int32(i), parts
	}
	for _, e := range endpoints {
		spec := &out[partOf(e.Address, parts)]
		spec.Endpoints = append(spec.Endpoints, e)
	}
	return out
}
