// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package podstatus

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var (
	runs    = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waits   = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
	crashes = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	good    = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}
	bad     = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 2}}
)

func plain(state corev1.ContainerState) Container {
	return Container{Spec: &corev1.Container{Name: "main"}, State: state, Ready: true, Started: true}
}

func initial(state corev1.ContainerState) Container {
	return Container{Spec: &corev1.Container{Name: "init"}, Init: true, State: state}
}

func sidecar(state corev1.ContainerState, started bool) Container {
	spec := &corev1.Container{Name: "side", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}
	return Container{Spec: spec, Init: true, State: state, Started: started, Ready: started}
}

func TestPhaseAndConditions(t *testing.T) {
	cases := map[string]struct {
		policy     corev1.RestartPolicy
		containers []Container
		ended      bool
		networked  bool
		gates      []corev1.PodConditionType
		wantPhase  corev1.PodPhase
		want       map[corev1.PodConditionType]string // reason; empty is true
	}{
		"created": {
			containers: []Container{plain(waits)}, wantPhase: corev1.PodPending,
			want: map[corev1.PodConditionType]string{
				corev1.PodReadyToStartContainers: "PodSandboxNotReady", corev1.PodReady: "ContainersNotReady", corev1.ContainersReady: "ContainersNotReady",
			},
		},
		"running": {containers: []Container{plain(runs)}, networked: true, wantPhase: corev1.PodRunning},
		"running, not ready": {
			containers: []Container{{Spec: &corev1.Container{Name: "main"}, State: runs}}, networked: true, wantPhase: corev1.PodRunning,
			want: map[corev1.PodConditionType]string{corev1.PodReady: "ContainersNotReady", corev1.ContainersReady: "ContainersNotReady"},
		},
		"readiness gate": {
			containers: []Container{plain(runs)}, networked: true, gates: []corev1.PodConditionType{"x/open", "x/shut"}, wantPhase: corev1.PodRunning,
			want: map[corev1.PodConditionType]string{corev1.PodReady: "ReadinessGatesNotReady"},
		},
		"crash loop": {
			containers: []Container{{Spec: &corev1.Container{Name: "main"}, State: crashes, Last: bad}}, networked: true, wantPhase: corev1.PodRunning,
			want: map[corev1.PodConditionType]string{corev1.PodReady: "ContainersNotReady", corev1.ContainersReady: "ContainersNotReady"},
		},
		"initializing": {
			containers: []Container{initial(runs), plain(waits)}, networked: true, wantPhase: corev1.PodPending,
			want: map[corev1.PodConditionType]string{
				corev1.PodInitialized: "ContainersNotInitialized", corev1.PodReady: "ContainersNotReady", corev1.ContainersReady: "ContainersNotReady",
			},
		},
		"initialized": {containers: []Container{initial(good), sidecar(runs, true), plain(runs)}, networked: true, wantPhase: corev1.PodRunning},
		"init failed for good": {
			policy: corev1.RestartPolicyNever, containers: []Container{initial(bad), plain(waits)}, networked: true, wantPhase: corev1.PodFailed,
			want: map[corev1.PodConditionType]string{
				corev1.PodInitialized: "ContainersNotInitialized", corev1.PodReady: "PodFailed", corev1.ContainersReady: "PodFailed",
			},
		},
		"completed": {
			policy: corev1.RestartPolicyOnFailure, containers: []Container{plain(good)}, networked: true, wantPhase: corev1.PodSucceeded,
			want: map[corev1.PodConditionType]string{corev1.PodReady: "PodCompleted", corev1.ContainersReady: "PodCompleted"},
		},
		"failed": {
			policy: corev1.RestartPolicyNever, containers: []Container{plain(good), plain(bad)}, networked: true, wantPhase: corev1.PodFailed,
			want: map[corev1.PodConditionType]string{corev1.PodReady: "PodFailed", corev1.ContainersReady: "PodFailed"},
		},
		"to be restarted on failure": {
			policy: corev1.RestartPolicyOnFailure, containers: []Container{plain(bad)}, networked: true, wantPhase: corev1.PodRunning,
			want: map[corev1.PodConditionType]string{corev1.PodReady: "ContainersNotReady", corev1.ContainersReady: "ContainersNotReady"},
		},
		"deleted, went well": {
			containers: []Container{plain(good)}, ended: true, networked: true, wantPhase: corev1.PodSucceeded,
			want: map[corev1.PodConditionType]string{corev1.PodReady: "PodCompleted", corev1.ContainersReady: "PodCompleted"},
		},
		"deleted, killed": {
			containers: []Container{plain(bad)}, ended: true, networked: true, wantPhase: corev1.PodFailed,
			want: map[corev1.PodConditionType]string{corev1.PodReady: "PodFailed", corev1.ContainersReady: "PodFailed"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways}}
			if tc.policy != "" {
				pod.Spec.RestartPolicy = tc.policy
			}
			for _, gate := range tc.gates {
				pod.Spec.ReadinessGates = append(pod.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: gate})
			}
			pod.Status.Conditions = []corev1.PodCondition{{Type: "x/open", Status: corev1.ConditionTrue}}
			status := Compute(pod, Facts{Containers: tc.containers, Ended: tc.ended, Networked: tc.networked}, time.Now())
			if status.Phase != tc.wantPhase {
				t.Errorf("phase %s, want %s", status.Phase, tc.wantPhase)
			}
			got := map[corev1.PodConditionType]string{}
			for _, condition := range status.Conditions {
				if condition.Status == corev1.ConditionFalse {
					got[condition.Type] = condition.Reason
				}
			}
			if tc.want == nil {
				tc.want = map[corev1.PodConditionType]string{}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("conditions that are false (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTransitionTimes(t *testing.T) {
	first, second := time.Unix(1000, 0), time.Unix(2000, 0)
	pod := &corev1.Pod{}
	facts := Facts{Networked: true, Containers: []Container{{Spec: &corev1.Container{Name: "main"}, State: runs}}}
	pod.Status = Compute(pod, facts, first)
	facts.Containers[0].Ready = true
	status := Compute(pod, facts, second)
	want := map[corev1.PodConditionType]int64{
		corev1.PodReadyToStartContainers: 1000, corev1.PodInitialized: 1000, corev1.ContainersReady: 2000, corev1.PodReady: 2000,
	}
	got := map[corev1.PodConditionType]int64{}
	for _, condition := range status.Conditions {
		got[condition.Type] = condition.LastTransitionTime.Unix()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("times of transition (-want +got):\n%s", diff)
	}
}

func TestAddressesAndContainers(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	main := plain(crashes)
	main.Spec.Image, main.ID, main.Last, main.Restarts = "echo:1", "lab://x", bad, 4
	status := Compute(pod, Facts{
		PodIPs: []string{"10.0.0.1", "fd00::1"}, HostIPs: []string{"10.1.0.1", "fd01::1"}, StartTime: time.Unix(5, 0),
		Containers: []Container{main},
	}, time.Now())
	if status.PodIP != "10.0.0.1" || status.HostIP != "10.1.0.1" || len(status.PodIPs) != 2 || len(status.HostIPs) != 2 {
		t.Errorf("addresses %s %v, %s %v", status.PodIP, status.PodIPs, status.HostIP, status.HostIPs)
	}
	want := []corev1.ContainerStatus{{
		Name: "main", Image: "echo:1", ImageID: "lab://echo:1", ContainerID: "lab://x", RestartCount: 4,
		State: crashes, LastTerminationState: bad, Started: ptr.To(false),
	}}
	if diff := cmp.Diff(want, status.ContainerStatuses); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
}
