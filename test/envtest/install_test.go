// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/controllers/install"
)

func TestInstall(t *testing.T) {
	v, recorder := newView(t), events.NewFakeRecorder(10)
	r := &install.Reconciler{Client: v, Recorder: recorder, Namespace: namespace(t), Image: "fairlead-agent:v1",
		APIServers: []string{"https://192.0.2.1:6443", "https://192.0.2.2:6443"}}
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
	wantArgs := []string{"--node-name=$(NODE_NAME)", "--sysctl-root=/host/proc/sys", "--apiserver=https://192.0.2.1:6443", "--apiserver=https://192.0.2.2:6443"}
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
	update(t, meddled)
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
