// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func TestAddressesOf(t *testing.T) {
	port, no := int32(6443), false
	theirs := metav1.ObjectMeta{Name: "kubernetes"}
	got := addressesOf([]discoveryv1.EndpointSlice{
		{ObjectMeta: theirs, Ports: []discoveryv1.EndpointPort{{Port: &port}, {}}, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"192.0.2.2"}}, {Addresses: []string{"192.0.2.1"}}, {Addresses: []string{"192.0.2.2"}},
			{Addresses: []string{"2001:db8::1"}},
			{Addresses: []string{"192.0.2.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes-abc"}, Ports: []discoveryv1.EndpointPort{{Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"198.51.100.1"}}}},
	})
	want := []string{"https://192.0.2.1:6443", "https://192.0.2.2:6443", "https://[2001:db8::1]:6443"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestReport checks that a failure is on each policy.
func TestReport(t *testing.T) {
	recorder := events.NewFakeRecorder(10)
	report(recorder, []v1alpha1.ProxyConfig{{}, {}, {}}, "Failed to apply", errors.New("no answer"))
	if n := len(recorder.Events); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
	if got := <-recorder.Events; got != "Warning AgentInstallFailed Failed to apply, will retry: no answer" {
		t.Errorf("event %q", got)
	}
}

func TestManifest(t *testing.T) {
	ds, err := manifest("ns", "image:v1")
	if err != nil {
		t.Fatal(err)
	}
	pod := ds.Spec.Template.Spec
	if *ds.Name != Name || *ds.Namespace != "ns" || *pod.ServiceAccountName != Name || !*pod.HostNetwork || *pod.Containers[0].Image != "image:v1" {
		t.Errorf("got %+v", ds)
	}
	if ds.Labels["app.kubernetes.io/managed-by"] != "fairlead-controller" {
		t.Errorf("labels: %v", ds.Labels)
	}
	for k, v := range ds.Spec.Selector.MatchLabels {
		if ds.Spec.Template.Labels[k] != v {
			t.Errorf("the selector's label %s=%s is not on the Pods", k, v)
		}
	}
}

// TestProbesBesideKubeProxy checks that the kubelet asks the agent, and the scheduler
// places it, where kube-proxy holds its ports.
func TestProbesBesideKubeProxy(t *testing.T) {
	ds, err := manifest("ns", "image:v1")
	if err != nil {
		t.Fatal(err)
	}
	container := ds.Spec.Template.Spec.Containers[0]
	ports := map[string]int32{}
	for _, p := range container.Ports {
		ports[*p.Name] = *p.ContainerPort
		if *p.ContainerPort == 10249 || *p.ContainerPort == 10256 {
			t.Errorf("port %d is kube-proxy's", *p.ContainerPort)
		}
	}
	for path, get := range map[string]*corev1ac.HTTPGetActionApplyConfiguration{
		"/livez": container.LivenessProbe.HTTPGet, "/readyz": container.ReadinessProbe.HTTPGet} {
		if *get.Path != path || *get.Host != "127.0.0.1" || ports[get.Port.StrVal] == 0 {
			t.Errorf("probe %s: %+v, want one of a port of the agent's own on localhost", path, get)
		}
	}
	if ds.Spec.MinReadySeconds == nil || *ds.Spec.MinReadySeconds == 0 {
		t.Error("a rollout does not wait whether new agents keep running")
	}
}
