// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestOthersMeddle changes a slice by hand.
func TestOthersMeddle(t *testing.T) {
	cases := map[string]struct {
		meddle  func(*v1alpha1.ServiceRuleSlice)
		want    []string
		refused bool // by agents, until it is restored
	}{
		"an endpoint is gone":       {func(s *v1alpha1.ServiceRuleSlice) { s.Spec.Endpoints = s.Spec.Endpoints[1:] }, []string{"apply web-v4-0"}, true},
		"an address was changed":    {func(s *v1alpha1.ServiceRuleSlice) { s.Spec.ClusterIP = "192.0.2.1" }, []string{"apply web-v4-0"}, true},
		"an address was added":      {func(s *v1alpha1.ServiceRuleSlice) { s.Spec.ExternalIPs = []string{"192.0.2.1"} }, []string{"apply web-v4-0"}, true},
		"the digest was changed":    {func(s *v1alpha1.ServiceRuleSlice) { s.Spec.Digest = "0" }, []string{"apply web-v4-0"}, true},
		"the labels are gone":       {func(s *v1alpha1.ServiceRuleSlice) { s.Labels = nil }, []string{"apply web-v4-0"}, true},
		"the UID is gone":           {func(s *v1alpha1.ServiceRuleSlice) { s.Annotations = nil }, []string{"apply web-v4-0"}, false},
		"a label names another":     {func(s *v1alpha1.ServiceRuleSlice) { s.Labels["fairlead.dev/service-namespace"] = "kube-system" }, []string{"apply web-v4-0"}, true},
		"a label of theirs is fine": {func(s *v1alpha1.ServiceRuleSlice) { s.Labels["theirs"] = "yes" }, nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newServices(t)
			create(t, s.service(), s.endpointSlice(2))
			s.reconcile()
			before := s.slices()["web-v4-0"]
			changed := before.DeepCopy()
			tc.meddle(changed)
			s.update(changed)
			if refused := model.CheckOrigin(changed) != nil; refused != tc.refused {
				t.Errorf("agents refuse it: %v, want %v", refused, tc.refused)
			}
			s.wantWrites(tc.want...)
			after := s.slices()["web-v4-0"]
			if diff := cmp.Diff(before.Spec, after.Spec); diff != "" {
				t.Error(diff)
			}
			if len(tc.want) > 0 {
				for _, one := range []v1alpha1.ServiceRuleSlice{before, after} {
					delete(one.Annotations, corev1.EndpointsLastChangeTriggerTime) // is written for a change of the Service only
				}
				if diff := cmp.Diff([]any{before.Labels, before.Annotations}, []any{after.Labels, after.Annotations}); diff != "" {
					t.Error(diff)
				}
				if err := model.CheckOrigin(&after); err != nil {
					t.Errorf("agents would refuse it: %v", err)
				}
			}
			s.wantWrites()
		})
	}
	t.Run("the slice is gone", func(t *testing.T) {
		s := newServices(t)
		create(t, s.service(), s.endpointSlice(2))
		s.reconcile()
		gone := s.slices()["web-v4-0"]
		s.delete(&gone)
		s.wantWrites("apply web-v4-0")
	})
}

// TestForeignSlices makes slices by hand: the controller overwrites the one that has the name
// of one of its own, and deletes all others, whether they have its labels or not.
func TestForeignSlices(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1alpha1.ServiceRuleSlice) // of one that looks like the controller's
		noSvc  bool
		write  string
		event  string // without namespace; empty: none
	}{
		"other name": {func(s *v1alpha1.ServiceRuleSlice) { s.Name = s.Spec.ServiceNamespace + ".theirs" }, false, "delete theirs",
			"ServiceRuleSlice theirs was deleted: its spec belongs to the name web-v4-7."},
		"without labels": {func(s *v1alpha1.ServiceRuleSlice) { s.Labels = nil }, false, "delete web-v4-7",
			"ServiceRuleSlice web-v4-7 was deleted: its label app.kubernetes.io/managed-by is not fairlead-controller."},
		"with all labels": {func(*v1alpha1.ServiceRuleSlice) {}, false, "delete web-v4-7",
			"ServiceRuleSlice web-v4-7 was deleted: envtest.test has written its spec, not fairlead-controller."},
		"in the place of its own": {func(s *v1alpha1.ServiceRuleSlice) {
			s.Name, s.Spec.Part = s.Spec.ServiceNamespace+".web-v4-0", 0
		}, false, "apply web-v4-0", "ServiceRuleSlice web-v4-0 was overwritten: envtest.test has written its spec, not fairlead-controller."},
		"without a Service": {func(*v1alpha1.ServiceRuleSlice) {}, true, "delete web-v4-7",
			"ServiceRuleSlice web-v4-7 was deleted: envtest.test has written its spec, not fairlead-controller."},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServices(t)
			id := model.ServiceID{Namespace: s.ns, Name: "web", Family: corev1.IPv4Protocol}
			slice := &v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: model.SliceName(id, 7), Labels: model.SliceLabels(id)},
				Spec: v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: s.ns, ServiceName: "web", AddressFamily: corev1.IPv4Protocol,
					Part: 7, Parts: 8, ClusterIP: "10.0.0.10", Digest: "0"}}
			tc.change(slice)
			if !tc.noSvc {
				create(t, s.service(), s.endpointSlice(2))
			}
			if strings.HasPrefix(tc.write, "delete") && !tc.noSvc {
				s.reconcile()
			}
			create(t, slice)
			s.wantWrites(tc.write)
			left := slices.Collect(maps.Keys(s.slices()))
			if want := []string{"web-v4-0"}; !tc.noSvc && !slices.Equal(left, want) || tc.noSvc && len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			select {
			case got := <-s.recorder.Events:
				if got = s.short([]string{got})[0]; !strings.HasPrefix(got, "Warning ForeignSlice "+tc.event) {
					t.Errorf("event: got %q, want %q", got, tc.event)
				}
			default:
				t.Error("no event")
			}
			s.wantWrites()
			wantNoEvent(t, s.recorder)
		})
	}
}

// TestForeignSliceIsReplaced checks that a slice which was made again since the cache has
// seen it is not deleted in its place.
func TestForeignSliceIsReplaced(t *testing.T) {
	s := newServices(t)
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: s.ns, ServiceName: "web", AddressFamily: corev1.IPv4Protocol, Parts: 1, Digest: "0"}
	make := func() *v1alpha1.ServiceRuleSlice {
		return &v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: s.ns + ".theirs"}, Spec: spec}
	}
	create(t, make())
	s.fail = func(string) error {
		s.fail = nil
		s.delete(make())
		create(t, make())
		return nil
	}
	_, err := s.try()
	wantError(t, err, "the UID in the precondition")
	if len(s.slices()) != 1 {
		t.Error("the new one was deleted")
	}
}
