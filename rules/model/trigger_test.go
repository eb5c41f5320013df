// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestChanged checks which time an object shows of its last change.
func TestChanged(t *testing.T) {
	at := func(second int64) *metav1.Time { return ptr.To(metav1.Unix(1_700_000_000+second, 0)) }
	fields := []metav1.ManagedFieldsEntry{{Manager: "a", Time: at(10)}, {Manager: "b", Time: at(30), Subresource: "status"}, {Manager: "c"}, {Manager: "d", Time: at(20)}}
	for name, c := range map[string]struct {
		obj  metav1.ObjectMeta
		want time.Time
	}{
		"nothing":      {metav1.ObjectMeta{}, time.Time{}},
		"fields":       {metav1.ObjectMeta{ManagedFields: fields}, at(30).Time},
		"a trigger":    {metav1.ObjectMeta{ManagedFields: fields, Annotations: model.TriggerAnnotation(at(5).Time)}, at(5).Time},
		"no sense":     {metav1.ObjectMeta{ManagedFields: fields, Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: "now"}}, at(30).Time},
		"only created": {metav1.ObjectMeta{CreationTimestamp: *at(1)}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := model.Changed(&c.obj); !got.Equal(c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestNewest(t *testing.T) {
	for name, c := range map[string]struct {
		times []string
		want  string
	}{
		"nothing":     {nil, ""},
		"no time":     {[]string{""}, ""},
		"no sense":    {[]string{"yesterday"}, ""},
		"several":     {[]string{"2026-01-02T03:04:05Z", "", "2026-01-02T03:04:05.25Z", "2026-01-01T00:00:00Z"}, "2026-01-02T03:04:05.25Z"},
		"other zones": {[]string{"2026-01-02T03:04:05+02:00", "2026-01-02T02:04:05Z"}, "2026-01-02T02:04:05Z"},
	} {
		t.Run(name, func(t *testing.T) {
			var objs []*metav1.ObjectMeta
			for _, text := range c.times {
				objs = append(objs, &metav1.ObjectMeta{Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: text}})
			}
			got := model.Newest(objs, model.Trigger)
			if text := model.TriggerAnnotation(got)[corev1.EndpointsLastChangeTriggerTime]; text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
			if back := model.Trigger(&metav1.ObjectMeta{Annotations: model.TriggerAnnotation(got)}); !back.Equal(got) {
				t.Errorf("read back as %s, want %s", back, got.Format(time.RFC3339Nano))
			}
		})
	}
}
