// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/rules/takeover"
)

// TestWritesNameTheirObject checks that no write concerns another object than the one that it was decided from: the DaemonSet as it
// was, and the Node and the ProxyConfig with that UID.
func TestWritesNameTheirObject(t *testing.T) {
	c := cases["the rules work"]
	w := newWorld(t, c.objs...)
	type metadata struct{ UID, ResourceVersion string }
	got := map[string]metadata{}
	note := func(kind string, data []byte) error {
		var obj struct{ Metadata metadata }
		err := json.Unmarshal(data, &obj)
		got[kind] = obj.Metadata
		return err
	}
	w.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			data, err := patch.Data(obj)
			if _, ok := obj.(*corev1.Node); ok {
				return errors.Join(err, note("Node", data), c.Patch(ctx, obj, patch, opts...))
			}
			return errors.Join(err, note("DaemonSet", data), c.Patch(ctx, obj, patch, opts...))
		},
		SubResourceApply: func(ctx context.Context, c client.Client, name string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			data, err := json.Marshal(obj)
			return errors.Join(err, note("ProxyConfig", data), c.SubResource(name).Apply(ctx, obj, opts...))
		},
	})
	ds := daemonSet("kube-proxy")
	if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(ds), ds); err != nil {
		t.Fatal(err)
	}
	if err := w.reconcile("a"); err != nil {
		t.Fatal(err)
	}
	want := map[string]metadata{"DaemonSet": {ResourceVersion: ds.ResourceVersion}, "Node": {UID: "n"}, "ProxyConfig": {UID: "a"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestChangedMeanwhile has another program change the DaemonSet after it was read: the write fails, and the next one keeps that.
func TestChangedMeanwhile(t *testing.T) {
	w := newWorld(t, cases["the rules work"].objs...)
	w.fail = func(n int) error {
		if n != 4 { // the write of the DaemonSet
			return nil
		}
		ds := &appsv1.DaemonSet{}
		if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(daemonSet("kube-proxy")), ds); err != nil {
			return err
		}
		ds.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}}
		return w.api.Update(t.Context(), ds)
	}
	if err := w.reconcile("a"); !apierrors.IsConflict(err) {
		t.Errorf("error %v, want a conflict", err)
	}
	if err := w.reconcile("a"); err != nil {
		t.Fatal(err)
	}
	ds := &appsv1.DaemonSet{}
	if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(daemonSet("kube-proxy")), ds); err != nil {
		t.Fatal(err)
	}
	if ds.Spec.Template.Spec.Affinity.PodAffinity == nil || !takeover.KeepsOff(ds) {
		t.Errorf("affinity %+v", ds.Spec.Template.Spec.Affinity)
	}
}

// TestGoneMeanwhile has an object go between the reading and its write: that is no error.
func TestGoneMeanwhile(t *testing.T) {
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, "n")
	for name, call := range map[string]int{"the node": 5, "the ProxyConfig": 6} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cases["the rules work"].objs...)
			w.fail = func(n int) error {
				if n == call {
					return gone
				}
				return nil
			}
			if err := w.reconcile("a"); err != nil || w.calls <= call {
				t.Errorf("error %v after %d calls", err, w.calls)
			}
		})
	}
}

// TestForbiddenBesideObstacle checks that a missing right is what is said, also where the DaemonSet skips nodes.
func TestForbiddenBesideObstacle(t *testing.T) {
	w := newWorld(t, cases["it does not come back"].objs...)
	w.fail = func(n int) error {
		if n == 4 { // the label goes
			return apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "n", errors.New("no right"))
		}
		return nil
	}
	if err := w.reconcile("a"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("kube-proxy keeps off, n=replaced, a False/MissingPermission", w.has()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEvents checks what a ProxyConfig's events say, and that another look has none.
func TestEvents(t *testing.T) {
	for name, want := range map[string][]string{
		"the rules work":            {"Normal KubeProxyExcluded"},
		"it is gone":                nil,
		"none, and none runs":       nil, // that there is no DaemonSet is no obstacle
		"there is no DaemonSet":     {"Warning DaemonSetNotFound"},
		"Helm owns it":              {"Warning DaemonSetOwned"},
		"given back, the DaemonSet": {"Normal KubeProxyRestored"},
		"it does not come back":     {"Warning DaemonSetSkipsNodes", "Normal KubeProxyRestored"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cases[name].objs...)
			for range 2 {
				if err := w.reconcile("a"); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, w.reasons()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestEventOnce checks that an obstacle has an event when it comes, and none when its message changes.
func TestEventOnce(t *testing.T) {
	w := newWorld(t, cases["there is no DaemonSet"].objs...)
	for _, daemonSet := range []string{proxy, "kube-system/other"} {
		c := config("a", nil, "")
		if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(c), c); err != nil {
			t.Fatal(err)
		}
		c.Spec.KubeProxy.DaemonSet = daemonSet
		if err := w.api.Update(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := w.reconcile("a"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"Warning DaemonSetNotFound"}, w.reasons()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// reasons are the types and reasons of the events since the last call.
func (w *world) reasons() (out []string) {
	for len(w.events.Events) > 0 {
		out = append(out, strings.Join(strings.Fields(<-w.events.Events)[:2], " "))
	}
	return out
}
