// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"net"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/controllers/install"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestInstall(t *testing.T) {
	admin := administrator(t)
	v, recorder := newViewOf(t, admin), events.NewFakeRecorder(10)
	r := &install.DaemonSet{Client: v, Recorder: recorder, Namespace: namespace(t), Image: "fairlead-agent:v1"}
	key := client.ObjectKey{Namespace: r.Namespace, Name: install.Name}
	reconcile := func() error {
		t.Helper()
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
		return err
	}
	get := func() *appsv1.DaemonSet {
		t.Helper()
		ds := &appsv1.DaemonSet{}
		if err := api.Get(t.Context(), key, ds); err != nil {
			t.Fatal(err)
		}
		return ds
	}

	if err := reconcile(); err != nil || len(v.writes) > 0 {
		t.Fatalf("without a policy: got %v, writes %v; want nothing", err, v.writes)
	}
	config := policy("default", "n1", 0)
	create(t, config)
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	first := get()
	cleanUp(t, first)
	container := first.Spec.Template.Spec.Containers[0]
	wantArgs := []string{"--node-name=$(NODE_NAME)", "--sysctl-root=/host/proc/sys", "--apiserver-file=/etc/fairlead/apiservers"}
	if diff := cmp.Diff(wantArgs, container.Args); diff != "" || container.Image != "fairlead-agent:v1" {
		t.Errorf("image %s, args (-want +got):\n%s", container.Image, diff)
	}

	// A controller that restarts changes nothing.
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := get(); got.ResourceVersion != first.ResourceVersion {
		t.Error("the second time wrote again")
	}

	meddled := get()
	meddled.Spec.Template.Spec.Containers[0].Image = "other"
	meddled.Spec.Template.Spec.Containers[0].Args = nil
	meddled.Spec.Template.Spec.HostNetwork = false
	if err := admin.Update(t.Context(), meddled); err != nil {
		t.Fatal(err)
	}
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.Spec, get().Spec); diff != "" {
		t.Errorf("not repaired:\n%s", diff)
	}

	remove(t, get())
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	r.Image = "fairlead-agent:v2"
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := get().Spec.Template.Spec.Containers[0].Image; got != r.Image {
		t.Errorf("image after the upgrade: got %s", got)
	}

	v.fail = func(string) error { return apierrors.NewServiceUnavailable("away") }
	wantError(t, reconcile(), "away")
	wantEvent(t, recorder, "Warning AgentInstallFailed")
	v.fail = nil

	// Without a policy the agents stay: they may still forward traffic.
	remove(t, config)
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	get()
}

// TestAgentsReadAPIServers checks where new agents read the addresses of the apiserver, and
// that a change of these changes only that: no agent is restarted.
func TestAgentsReadAPIServers(t *testing.T) {
	v, recorder, ns := newViewOf(t, administrator(t)), events.NewFakeRecorder(10), namespace(t)
	r := &install.APIServers{Client: v, Recorder: recorder, Namespace: ns}
	key := client.ObjectKey{Namespace: ns, Name: install.Name}
	reconcile := func() error {
		t.Helper()
		result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
		if err == nil && result.RequeueAfter == 0 {
			t.Error("a deleted ConfigMap is not written again")
		}
		return err
	}
	want := func(addresses string) *corev1.ConfigMap {
		t.Helper()
		if err := reconcile(); err != nil {
			t.Fatal(err)
		}
		got := &corev1.ConfigMap{}
		if err := api.Get(t.Context(), key, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{install.KeyAPIServers: addresses}, got.Data); diff != "" {
			t.Errorf("data (-want +got):\n%s", diff)
		}
		return got
	}

	// The agents find it.
	daemonSet := &install.DaemonSet{Client: v, Recorder: recorder, Namespace: ns, Image: "fairlead-agent:v1"}
	config := policy("default", "n1", 0)
	create(t, config)
	if _, err := daemonSet.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	ds := &appsv1.DaemonSet{}
	if err := api.Get(t.Context(), key, ds); err != nil {
		t.Fatal(err)
	}
	cleanUp(t, ds)
	source := ds.Spec.Template.Spec.Volumes[0].ConfigMap
	if source == nil || source.Name != install.Name || source.Items[0].Key != install.KeyAPIServers || source.Optional != nil {
		t.Errorf("the agents' volume: %+v", ds.Spec.Template.Spec.Volumes[0])
	}

	theirs := &discoveryv1.EndpointSlice{}
	if err := api.Get(t.Context(), model.APIServerService, theirs); err != nil {
		t.Fatal(err)
	}
	first := want("https://" + net.JoinHostPort(theirs.Endpoints[0].Addresses[0], strconv.Itoa(int(*theirs.Ports[0].Port))))
	if got := want(first.Data[install.KeyAPIServers]); got.ResourceVersion != first.ResourceVersion {
		t.Error("the second time wrote again")
	}
	r.Configured = []string{"https://192.0.2.1:6443", "https://192.0.2.2:6443"}
	changed := want("https://192.0.2.1:6443,https://192.0.2.2:6443")
	changed.Data = map[string]string{install.KeyAPIServers: "https://198.51.100.1:6443"}
	update(t, changed)
	want("https://192.0.2.1:6443,https://192.0.2.2:6443")
	remove(t, changed)
	want("https://192.0.2.1:6443,https://192.0.2.2:6443")

	if _, err := daemonSet.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	after := &appsv1.DaemonSet{}
	if err := api.Get(t.Context(), key, after); err != nil {
		t.Fatal(err)
	}
	if after.Generation != ds.Generation {
		t.Errorf("other apiservers changed the DaemonSet:\n%s", cmp.Diff(ds.Spec, after.Spec))
	}

	v.fail = func(string) error { return apierrors.NewServiceUnavailable("away") }
	wantError(t, reconcile(), "away")
	wantEvent(t, recorder, "Warning AgentInstallFailed")
	v.fail = nil
	v.hide = func(obj client.Object) bool { _, ok := obj.(*discoveryv1.EndpointSlice); return ok }
	r.Configured = nil
	wantError(t, reconcile(), "default/kubernetes has no endpoints")
}
