// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wait

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var web = types.NamespacedName{Namespace: "default", Name: "web"}

// ruleSlice is a part of a Service's rules as the controller writes it.
func ruleSlice(service string, part int32, digest string) *v1alpha1.ServiceRuleSlice {
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: "default", ServiceName: service, AddressFamily: corev1.IPv4Protocol,
		Part: part, Parts: 2, Digest: digest}
	id := model.ServiceOf(&spec)
	return &v1alpha1.ServiceRuleSlice{
		ObjectMeta: metav1.ObjectMeta{Name: model.SliceNameOf(&spec), Labels: model.SliceLabels(id), ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: v1alpha1.ControllerName, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`),
		}}},
		Spec: spec,
	}
}

func obsolete(s *v1alpha1.ServiceRuleSlice) *v1alpha1.ServiceRuleSlice {
	s.Annotations = map[string]string{v1alpha1.AnnotationObsolete: "true"}
	return s
}

func foreign(s *v1alpha1.ServiceRuleSlice) *v1alpha1.ServiceRuleSlice {
	s.ManagedFields[0].Manager = "kubectl"
	return s
}

func wanted(parts ...*v1alpha1.ServiceRuleSlice) (out []compile.Slice) {
	for _, s := range parts {
		out = append(out, compile.Slice{Name: s.Name, Spec: s.Spec})
	}
	return out
}

// TestFollower plays changes of slices. Each step is a change, or a comparison with the wanted
// slices; then nodes report digests.
func TestFollower(t *testing.T) {
	type step func(*Follower)
	set := func(s *v1alpha1.ServiceRuleSlice) step { return func(f *Follower) { f.Set(s) } }
	remove := func(s *v1alpha1.ServiceRuleSlice) step { return func(f *Follower) { f.Delete(s.Name) } }
	want := func(parts ...*v1alpha1.ServiceRuleSlice) step { return func(f *Follower) { f.Want(wanted(parts...)) } }
	old, next, second := ruleSlice("web", 0, "01"), ruleSlice("web", 0, "02"), ruleSlice("web", 1, "04")
	other, changed := ruleSlice("other", 0, "10"), ruleSlice("other", 0, "20")
	cases := map[string]struct {
		steps   []step
		reached bool
		has     []string
		hasNot  []string
	}{
		"nothing is compared":            {[]step{set(old)}, false, nil, []string{"01"}},
		"the slices are the wanted ones": {[]step{set(next), set(other), want(next)}, true, []string{"12"}, []string{"02", "10", ""}},
		"they are older":                 {[]step{set(old), set(other), want(next)}, false, nil, []string{"11"}},
		"they become the wanted ones":    {[]step{set(old), set(other), want(next), set(next), want(next)}, true, []string{"12"}, []string{"11"}},
		"a part is missing":              {[]step{set(next), want(next, second)}, false, nil, []string{"02", "06"}},
		"a part is to go":                {[]step{set(next), set(second), want(next)}, false, nil, []string{"06", "02"}},
		"a part is gone":                 {[]step{set(next), set(second), remove(second), want(next)}, true, []string{"02"}, []string{"06"}},
		"a part is obsolete":             {[]step{set(next), set(second), set(obsolete(ruleSlice("web", 1, "04"))), want(next)}, true, []string{"02"}, []string{"06"}},
		"other Services change later":    {[]step{set(next), set(other), want(next), set(changed), remove(changed)}, true, []string{"12", "22", "02"}, nil},
		"the Service changes later":      {[]step{set(old), want(old), set(next), want(old)}, true, []string{"01", "02"}, nil},
		"another writes a slice":         {[]step{set(next), set(foreign(ruleSlice("web", 0, "08"))), want(next)}, true, []string{"02"}, []string{"08"}},
		"another adds a slice":           {[]step{set(next), set(foreign(ruleSlice("web", 1, "08"))), want(next)}, true, []string{"02"}, []string{"0a"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := NewFollower(web)
			for _, s := range tc.steps {
				s(f)
			}
			if f.Reached() != tc.reached {
				t.Errorf("reached: %v", f.Reached())
			}
			for _, digest := range tc.has {
				if !f.Has(model.XORDigest(digest)) {
					t.Errorf("a node with %s has not the rules", digest)
				}
			}
			for _, digest := range tc.hasNot {
				if f.Has(model.XORDigest(digest)) {
					t.Errorf("a node with %s has the rules", digest)
				}
			}
		})
	}
}

// The number of parts is that of the Service, as it is when endpoints vary around a limit.
func TestParts(t *testing.T) {
	f := NewFollower(web)
	f.Set(ruleSlice("web", 0, "01"))
	many := ruleSlice("other", 0, "02")
	many.Spec.Parts = 8
	f.Set(many)
	if diff := cmp.Diff(map[corev1.IPFamily]int32{corev1.IPv4Protocol: 2}, f.Parts()); diff != "" {
		t.Error(diff)
	}
}
