// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// apiserverAddresses returns the ConfigMap with the addresses of the apiserver, which is
// deleted with its namespace.
func apiserverAddresses(t *testing.T) *corev1.ConfigMap {
	t.Helper()
	addresses := &corev1.ConfigMap{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-apiserver"}, addresses); err != nil {
		t.Fatal(err)
	}
	return addresses
}

// putAddresses makes the namespace and the ConfigMap again.
func putAddresses(addresses *corev1.ConfigMap) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: addresses.Namespace}}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: addresses.Namespace, Name: addresses.Name}, Data: addresses.Data}
	for _, obj := range []client.Object{ns, config} {
		if err := api.Create(context.Background(), obj); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// TestUninstall removes Fairlead as `make undeploy` does, with each deletion policy: nodes
// keep forwarding, or hold nothing any more; nothing is left in the API. Afterwards it
// installs Fairlead again.
func TestUninstall(t *testing.T) {
	service := newEcho(t, newNamespace(t), 2)
	addresses := apiserverAddresses(t)
	again := func() error { return errors.Join(putAddresses(addresses), install()) }
	t.Cleanup(func() {
		if err := again(); err != nil {
			t.Error(err)
		}
	})
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionKeep, v1alpha1.DeletionCleanup} {
		t.Run(string(policy), func(t *testing.T) {
			if err := again(); err != nil {
				t.Fatal(err)
			}
			eventually(t, time.Minute, func() error { return askAll(service) })
			setDeletionPolicy(t, policy)
			undeploy := exec.Command("hack/undeploy.sh")
			undeploy.Dir = repo
			out, err := undeploy.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if strings.Contains(string(out), "Not cleaned up") {
				t.Errorf("not all nodes are cleaned up:\n%s", out)
			}
			nothingLeft(t)
			for _, node := range labNodes {
				tables, err := inNode(node, "nft", "list", "tables")
				if err != nil {
					t.Error(err)
				}
				if got, want := strings.Contains(tables, "fairlead"), policy == v1alpha1.DeletionKeep; got != want {
					t.Errorf("%s has a table of Fairlead: %v, want %v:\n%s", node, got, want, tables)
				}
			}
			if policy == v1alpha1.DeletionCleanup {
				asBefore(t)
			}
			if err := askAll(service); (err == nil) != (policy == v1alpha1.DeletionKeep) {
				t.Errorf("new connections: %v", err)
			}
		})
	}
}

// asBefore checks that the nodes are as before the installation. A lab that was running
// before this program had Fairlead already, perhaps.
func asBefore(t *testing.T) {
	t.Helper()
	if len(beforeInstallation) == 0 {
		t.Log("the lab was running: what its nodes had before the installation is not known")
		return
	}
	now, err := readNodeStates()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(beforeInstallation, now); diff != "" {
		t.Errorf("nodes differ from what they were before the installation (-before +now):\n%s", diff)
	}
}

// setDeletionPolicy waits until all nodes have it.
func setDeletionPolicy(t *testing.T, policy v1alpha1.DeletionPolicy) {
	t.Helper()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"deletionPolicy":%q}}`, policy))
	pc := &v1alpha1.ProxyConfig{}
	pc.Name = "default"
	if err := api.Patch(t.Context(), pc, patch); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error {
		var sets v1alpha1.NodeRuleSetList
		if err := api.List(t.Context(), &sets); err != nil {
			return err
		}
		for _, set := range sets.Items {
			if set.Spec.DeletionPolicy != policy || set.Status.ObservedGeneration != set.Generation {
				return fmt.Errorf("%s has %s, generation %d of %d", set.Name, set.Spec.DeletionPolicy, set.Status.ObservedGeneration, set.Generation)
			}
		}
		return nil
	})
}

// nothingLeft checks that namespace and kinds are gone.
func nothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error {
		err := gone("the namespace", api.Get(t.Context(), client.ObjectKey{Name: "fairlead-system"}, &corev1.Namespace{}))
		for _, list := range []client.ObjectList{&v1alpha1.ProxyConfigList{}, &v1alpha1.NodeRuleSetList{}, &v1alpha1.ServiceRuleSliceList{}} {
			err = errors.Join(err, gone(fmt.Sprintf("%T", list), api.List(t.Context(), list)))
		}
		return err
	})
}

// gone returns an error unless a request has failed because there is no such object or kind.
func gone(what string, err error) error {
	switch {
	case apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err):
		return nil
	case err == nil:
		return errors.New(what + " is still there")
	}
	return fmt.Errorf("%s: %w", what, err)
}

// askAll opens a connection to a Service from every node.
func askAll(service *corev1.Service) error {
	var errs []error
	for _, node := range labNodes {
		errs = append(errs, ask(node, service.Spec.ClusterIP, echoPort))
	}
	return errors.Join(errs...)
}
