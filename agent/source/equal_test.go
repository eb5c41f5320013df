// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// fill sets every field, lists with one entry, and returns how to change each.
func fill(t *testing.T, v reflect.Value, path string, changes map[string]func()) {
	t.Helper()
	if v.Type() == reflect.TypeFor[metav1.Time]() {
		v.Set(reflect.ValueOf(metav1.Unix(1, 0)))
		changes[path] = func() { v.Set(reflect.ValueOf(metav1.Unix(2, 0))) }
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
		changes[path] = func() { v.SetString("y") }
	case reflect.Int32:
		v.SetInt(1)
		changes[path] = func() { v.SetInt(2) }
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), path+"[0]", changes)
		changes[path] = func() { v.Set(reflect.Zero(v.Type())) }
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), path+".", changes)
		changes[path] = func() { v.Set(reflect.Zero(v.Type())) }
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), path+"."+v.Type().Field(i).Name, changes)
		}
	default:
		t.Fatalf("%s: equalSpecs and this test do not know the kind %s", path, v.Kind())
	}
}

// TestEveryFieldCounts changes each field of a slice in turn.
func TestEveryFieldCounts(t *testing.T) {
	filled := func() (*v1alpha1.ServiceRuleSliceSpec, map[string]func()) {
		spec, changes := &v1alpha1.ServiceRuleSliceSpec{}, map[string]func(){}
		fill(t, reflect.ValueOf(spec).Elem(), "spec", changes)
		return spec, changes
	}
	a, fields := filled()
	if b, _ := filled(); !equalSpecs(a, b) {
		t.Error("equal slices are not equal")
	}
	if len(fields) < 25 {
		t.Errorf("only %d fields", len(fields))
	}
	for field := range fields {
		b, changes := filled()
		changes[field]()
		if equalSpecs(a, b) || equalSpecs(b, a) {
			t.Errorf("%s does not count", field)
		}
	}
}

// TestEqualSpecs has differences in form that are none in content.
func TestEqualSpecs(t *testing.T) {
	none := func(*v1alpha1.ServiceRuleSliceSpec) {}
	cases := map[string]struct {
		a, b func(*v1alpha1.ServiceRuleSliceSpec)
		want bool
	}{
		"no lists and empty lists": {none, func(s *v1alpha1.ServiceRuleSliceSpec) {
			s.ExternalIPs, s.Ports, s.Endpoints = []string{}, []v1alpha1.RulePort{}, []v1alpha1.RuleEndpoint{}
		}, true},
		"another time zone": {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ServiceCreated = metav1.Unix(1, 0) },
			func(s *v1alpha1.ServiceRuleSliceSpec) { s.ServiceCreated = metav1.NewTime(time.Unix(1, 0).UTC()) }, true},
		"everyone and no one": {none, func(s *v1alpha1.ServiceRuleSliceSpec) { s.LoadBalancerSources = &v1alpha1.SourceRanges{} }, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var a, b v1alpha1.ServiceRuleSliceSpec
			tc.a(&a)
			tc.b(&b)
			if got := equalSpecs(&a, &b); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
