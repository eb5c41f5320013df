// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package cni

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// variants are the ways to detect the Pods of a node that fit a plugin.
var variants = map[string][]v1alpha1.LocalTrafficOptions{
	"flannel": {
		{Detect: v1alpha1.DetectNodeCIDR},
		{Detect: v1alpha1.DetectClusterCIDR, ClusterCIDRs: []string{"10.244.0.0/16", "fd00:244::/32"}},
		{Detect: v1alpha1.DetectBridgeInterface, Interface: "cni0"},
		{Detect: v1alpha1.DetectInterfaceNamePrefix, Interface: "cni"},
	},
}

// routes are what a plugin has to route on node-1 by way of another node.
var routes = map[string][]string{
	"flannel": {"10.244.2.0/24 via 10.89.0.12", "fd00:244:2::/64 via fd00:89::12"},
}

// arena is what the connections of the test are between.
type arena struct {
	cluster, local *corev1.Service
	// The Services' Pods are on node-1 and node-2, and there are clients besides.
	backend, beside, elsewhere place
	node3, outside             place
}

func newArena(t *testing.T) arena {
	namespace := labtest.NewNamespace(t, api, "cni-")
	a := arena{
		outside: host("client", "198.51.100.10", "2001:db8:51::10"),
		node3:   host("node-3", "10.89.0.13", "fd00:89::13"),
	}
	newPod(t, namespace, "echo-1", "node-1", "echo")
	a.backend = newPod(t, namespace, "echo-2", "node-2", "echo")
	a.beside = newPod(t, namespace, "beside", "node-2", "client")
	a.elsewhere = newPod(t, namespace, "elsewhere", "node-3", "client")
	a.cluster, a.local = newService(t, namespace, "cluster", false), newService(t, namespace, "local", true)
	return a
}

// TestCNI connects to Services of both families, in each mode and with each way to detect Pods.
func TestCNI(t *testing.T) {
	detected, ok := variants[config.CNI]
	if !ok {
		t.Fatalf("no plugin %q", config.CNI)
	}
	var installed []byte
	for _, family := range []string{"-4", "-6"} {
		out, err := exec.Command(labtest.Binary, "exec", "node-1", "--", "ip", family, "route").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		installed = append(installed, out...)
	}
	for _, route := range routes[config.CNI] {
		if !strings.Contains(string(installed), route) {
			t.Errorf("node-1 has no route %q; it has:\n%s", route, installed)
		}
	}
	a := newArena(t)
	t.Cleanup(func() { // for the next run on a lab that stays
		if err := use(context.Background(), v1alpha1.ModeNFTables, v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR}); err != nil {
			t.Error(err)
		}
	})
	for _, mode := range []v1alpha1.ProxyMode{v1alpha1.ModeNFTables, v1alpha1.ModeIPTables} {
		for _, local := range detected {
			t.Run(string(mode)+"/"+string(local.Detect), func(t *testing.T) {
				if err := use(t.Context(), mode, local); err != nil {
					t.Fatal(err)
				}
				for family := range 2 {
					a.check(t, family)
				}
			})
		}
		// What the others show: a node that does not know its Pods masquerades them.
		t.Run(string(mode)+"/Unknown", func(t *testing.T) {
			if err := use(t.Context(), mode, v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectBridgeInterface, Interface: "other"}); err != nil {
				t.Fatal(err)
			}
			for family := range 2 {
				answers(t, "a Pod that is not known", a.elsewhere, a.cluster.Spec.ClusterIPs[family], echoPort, bothPods, not(a.elsewhere.addresses[family]))
			}
		})
	}
}

var (
	bothPods = []string{"echo-1", "echo-2"}
	itsPod   = []string{"echo-2"}
)

// check connects to the Services in one family.
func (a arena) check(t *testing.T, family int) {
	t.Helper()
	vip, localVIP := a.cluster.Spec.ClusterIPs[family], a.local.Spec.ClusterIPs[family]
	port, localPort := a.cluster.Spec.Ports[0].NodePort, a.local.Spec.Ports[0].NodePort
	node2, node3 := []string{"10.89.0.12", "fd00:89::12"}[family], a.node3.addresses[family]
	outside := a.outside.addresses[family]

	answers(t, "Pod", a.elsewhere, vip, echoPort, bothPods, is(a.elsewhere.addresses[family]))
	answers(t, "a Pod of the Service", a.backend, vip, echoPort, bothPods, anyone)
	answers(t, "node", a.node3, vip, echoPort, bothPods, anyone)
	answers(t, "outside, ClusterIP", a.outside, vip, echoPort, bothPods, not(outside))
	answers(t, "outside, node port", a.outside, node3, port, bothPods, not(outside))
	answers(t, "Pod, node port", a.elsewhere, node2, port, bothPods, anyone)

	answers(t, "Pod, internal policy Local", a.beside, localVIP, echoPort, itsPod, is(a.beside.addresses[family]))
	silent(t, "Pod elsewhere, internal policy Local", a.elsewhere, localVIP, echoPort)
	answers(t, "outside, external policy Local", a.outside, node2, localPort, itsPod, is(outside))
	silent(t, "outside, a node without Pods, external policy Local", a.outside, node3, localPort)
}

// source says what the client's address has to be.
type source func(address string) error

func is(want string) source {
	return func(address string) error {
		if address != want {
			return fmt.Errorf("the Pod sees %s, want the client's own address %s", address, want)
		}
		return nil
	}
}

func not(own string) source {
	return func(address string) error {
		if address == own {
			return fmt.Errorf("the Pod sees the client's own address %s, want it masqueraded", address)
		}
		return nil
	}
}

func anyone(string) error { return nil }

// answers connects until each of the Pods has answered, and no other one does. The first connection may come
// before a node has programmed the Service.
func answers(t *testing.T, what string, from place, address string, port int32, pods []string, client source) {
	t.Helper()
	if err := eventually(t.Context(), func() error { _, _, err := ask(from, address, port); return err }); err != nil {
		t.Errorf("%s to %s, port %d: %v", what, address, port, err)
		return
	}
	seen := map[string]bool{}
	// One of two Pods is missing after 64 connections with the probability of 2^-63.
	for range 64 {
		pod, seenAs, err := ask(from, address, port)
		if err == nil {
			err = client(seenAs)
		}
		if err == nil && !slices.Contains(pods, pod) {
			err = fmt.Errorf("%s answers, want one of %v", pod, pods)
		}
		if err != nil {
			t.Errorf("%s to %s, port %d: %v", what, address, port, err)
			return
		}
		if seen[pod] = true; len(seen) == len(pods) && len(pods) > 1 {
			return
		}
	}
	if len(seen) != len(pods) {
		t.Errorf("%s to %s, port %d: %v answer, want all of %v", what, address, port, seen, pods)
	}
}

// silent is a connection that reaches no Pod.
func silent(t *testing.T, what string, from place, address string, port int32) {
	t.Helper()
	if pod, _, err := ask(from, address, port); err == nil {
		t.Errorf("%s to %s, port %d: %s answers, want none", what, address, port, pod)
	}
}
