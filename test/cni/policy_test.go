// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package cni

import (
	"context"
	"errors"
	"fmt"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// checkPolicy connects to the Services while a NetworkPolicy lets only some clients reach their Pods: the
// plugin has to see the Pod that is the client, and the one that the Service's address is translated to.
func (a arena) checkPolicy(t *testing.T) {
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.cluster.Namespace, Name: "clients-only"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "echo"}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
				PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "client"}},
			}}}},
		},
	}
	if err := a.strangerReaches(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := api.Create(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // for the next mode
		if err := api.Delete(context.Background(), policy); err != nil {
			t.Error(err)
		}
		if err := a.strangerReaches(context.Background(), true); err != nil {
			t.Error(err)
		}
	})
	if err := a.strangerReaches(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	for family := range 2 {
		vip, localVIP := a.cluster.Spec.ClusterIPs[family], a.local.Spec.ClusterIPs[family]
		node2, node3 := []string{"10.89.0.12", "fd00:89::12"}[family], a.node3.addresses[family]

		answers(t, "a Pod that may", a.elsewhere, vip, echoPort, bothPods, is(a.elsewhere.addresses[family]))
		answers(t, "a Pod that may, internal policy Local", a.beside, localVIP, echoPort, itsPod, is(a.beside.addresses[family]))
		silent(t, "a Pod that may not, internal policy Local", a.stranger, localVIP, echoPort)
		for range 3 { // each of the two Pods, most likely
			silent(t, "a Pod that may not", a.stranger, vip, echoPort)
		}
		silent(t, "outside, node port", a.outside, node3, a.cluster.Spec.Ports[0].NodePort)
		silent(t, "outside, external policy Local", a.outside, node2, a.local.Spec.Ports[0].NodePort)
	}
}

// strangerReaches waits until a client reaches all Pods of the Services at their own addresses, or none.
func (a arena) strangerReaches(ctx context.Context, want bool) error {
	for _, backend := range a.backends {
		for _, address := range backend.addresses {
			err := eventually(ctx, func() error {
				_, _, err := ask(a.stranger, address, echoPort)
				if (err == nil) != want {
					return errors.Join(fmt.Errorf("the stranger reaches %s: %t, want %t", address, err == nil, want), err)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
