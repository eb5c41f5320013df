// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

func TestCompileProperties(t *testing.T) {
	EverySeed(t, 500, func(t *testing.T, r *Random) {
		in := r.Input("web")
		before := compile.Input{Service: in.Service.DeepCopy(), Parts: in.Parts}
		for _, s := range in.EndpointSlices {
			before.EndpointSlices = append(before.EndpointSlices, s.DeepCopy())
		}
		first := compile.Service(in)
		if !reflect.DeepEqual(before, in) {
			t.Error("Service changed its input")
		}
		if diff := cmp.Diff(first, compile.Service(in)); diff != "" {
			t.Errorf("Service is not deterministic:\n%s", diff)
		}
		if diff := cmp.Diff(first, compile.Service(r.Reordered(in))); diff != "" {
			t.Errorf("Service depends on the order of its input:\n%s", diff)
		}
		in.Parts = map[corev1.IPFamily]int32{}
		for _, s := range first.Slices {
			in.Parts[s.Spec.AddressFamily] = s.Spec.Parts
		}
		if diff := cmp.Diff(first, compile.Service(in)); diff != "" {
			t.Errorf("Service is not idempotent:\n%s", diff)
		}
	})
}

// Compiled slices can be resolved without an error, also after they went through the API.
func TestCompiledIsWellFormed(t *testing.T) {
	EverySeed(t, 500, func(t *testing.T, r *Random) {
		node, id := r.Node(), r.ID()
		parts := Specs(compile.Service(r.Input("web")), id.Family)
		resolved, err := resolve.Service(node, id, parts)
		if err != nil {
			t.Error(err)
		}
		CheckResult(t, id, resolved)
		var read []*v1alpha1.ServiceRuleSliceSpec
		for _, spec := range parts {
			text, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			again := &v1alpha1.ServiceRuleSliceSpec{}
			if err := json.Unmarshal(text, again); err != nil {
				t.Fatal(err)
			}
			if got := model.Digest(*again); got != spec.Digest {
				t.Errorf("digest %s, read back %s", spec.Digest, got)
			}
			read = append(read, again)
		}
		if again, err := resolve.Service(node, id, read); err != nil || !cmp.Equal(resolved, again, ByValue) {
			t.Errorf("error %v, read back:\n%s", err, cmp.Diff(resolved, again, ByValue))
		}
	})
}
