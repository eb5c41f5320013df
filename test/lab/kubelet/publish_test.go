// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podstatus"
)

// The node lifecycle controller overwrites the conditions of Pods whose node was
// silent; only the kubelet makes them ready again.
func TestOverwrittenConditions(t *testing.T) {
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", ResourceVersion: "5"}, Spec: spec}
	facts := podstatus.Facts{PodIPs: []string{"10.0.0.1"}, HostIPs: []string{"192.168.0.2"}, StartTime: time.Unix(1e9, 0), Networked: true, Containers: []podstatus.Container{{
		Spec: &spec.Containers[0], ID: "1", Ready: true, Started: true,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}}}
	patches := make(chan []byte)
	client := fake.NewClientset()
	written := pod.DeepCopy()
	client.PrependReactor("patch", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		patch := a.(clienttesting.PatchAction).GetPatch()
		if err := json.Unmarshal(patch, written); err != nil {
			return true, nil, err
		}
		written.ResourceVersion = "7"
		patches <- patch
		return true, written.DeepCopy(), nil
	})
	p := newPublisher(client, pod)
	go p.run(t.Context())
	want := func(what, text string) {
		t.Helper()
		select {
		case patch := <-patches:
			if !strings.Contains(string(patch), text) {
				t.Fatalf("%s: sent %s, want %q in it", what, patch, text)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: nothing was sent", what)
		}
	}
	p.publish(pod, facts)
	want("at first", `"10.0.0.1"`)

	ours := written.DeepCopy()
	// The watch brings what we wrote, or what was before: nothing to say.
	p.publish(ours, facts)
	p.publish(pod, facts)

	theirs := ours.DeepCopy()
	theirs.ResourceVersion = "10"
	for i := range theirs.Status.Conditions {
		if c := &theirs.Status.Conditions[i]; c.Type == corev1.PodReady {
			c.Status = corev1.ConditionFalse
		}
	}
	p.publish(theirs, facts)
	want("made unready by another writer", `"status":"True","type":"Ready"`)
}
