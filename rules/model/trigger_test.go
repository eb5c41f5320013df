// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestNewestTrigger(t *testing.T) {
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
			got := model.NewestTrigger(objs)
			if text := model.TriggerAnnotation(got)[corev1.EndpointsLastChangeTriggerTime]; text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
			if back := model.Trigger(&metav1.ObjectMeta{Annotations: model.TriggerAnnotation(got)}); !back.Equal(got) {
				t.Errorf("read back as %s, want %s", back, got.Format(time.RFC3339Nano))
			}
		})
	}
}
