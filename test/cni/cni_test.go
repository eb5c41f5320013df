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

// plugin is what the test expects of a CNI plugin.
type plugin struct {
	// detect are the ways to detect the Pods of a node that fit the plugin, unknown is one that does not.
	detect  []v1alpha1.LocalTrafficOptions
	unknown v1alpha1.LocalTrafficOptions
	// routes are what it has to route on node-1 by way of other nodes.
	routes []string
	// policies says that it enforces NetworkPolicies.
	policies bool
}

var plugins = map[string]plugin{
	"flannel": {
		detect: []v1alpha1.LocalTrafficOptions{
			{Detect: v1alpha1.DetectNodeCIDR},
			{Detect: v1alpha1.DetectClusterCIDR, ClusterCIDRs: []string{"10.244.0.0/16", "fd00:244::/32"}},
			{Detect: v1alpha1.DetectBridgeInterface, Interface: "cni0"},
			{Detect: v1alpha1.DetectInterfaceNamePrefix, Interface: "cni"},
		},
		unknown: v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectBridgeInterface, Interface: "other"},
		routes:  []string{"10.244.2.0/24 via 10.89.0.12", "fd00:244:2::/64 via fd00:89::12"},
	},
	"calico": {
		detect: []v1alpha1.LocalTrafficOptions{
			{Detect: v1alpha1.DetectInterfaceNamePrefix, Interface: "cali"},
			{Detect: v1alpha1.DetectClusterCIDR, ClusterCIDRs: []string{"10.245.0.0/16", "fd00:245::/48"}},
		},
		// Its addresses are not of the nodes' ranges.
		unknown:  v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR},
		routes:   []string{"dev vxlan.calico", "dev vxlan-v6.calico"},
		policies: true,
	},
}

// arena is what the connections of the test are between.
type arena struct {
	cluster, local *corev1.Service
	// The Services' Pods are on node-1 and node-2, and there are clients besides. No NetworkPolicy names the stranger.
	backends                    []place
	beside, elsewhere, stranger place
	node3, outside              place
}

func newArena(t *testing.T) arena {
	namespace := labtest.NewNamespace(t, api, "cni-")
	a := arena{
		outside: host("client", "198.51.100.10", "2001:db8:51::10"),
		node3:   host("node-3", "10.89.0.13", "fd00:89::13"),
	}
	a.backends = []place{newPod(t, namespace, "echo-1", "node-1", "echo"), newPod(t, namespace, "echo-2", "node-2", "echo")}
	a.beside = newPod(t, namespace, "beside", "node-2", "client")
	a.elsewhere = newPod(t, namespace, "elsewhere", "node-3", "client")
	a.stranger = newPod(t, namespace, "stranger", "node-2", "stranger")
	a.cluster, a.local = newService(t, namespace, "cluster", false), newService(t, namespace, "local", true)
	return a
}

// TestCNI connects to Services of both families, in each mode and with each way to detect Pods.
func TestCNI(t *testing.T) {
	p, ok := plugins[config.CNI]
	if !ok {
		t.Fatalf("no plugin %q", config.CNI)
	}
	a := newArena(t)
	checkRoutes(t, p.routes)
	t.Cleanup(func() { // for the next run on a lab that stays
		if err := use(context.Background(), v1alpha1.ModeNFTables, v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR}); err != nil {
			t.Error(err)
		}
	})
	for _, mode := range []v1alpha1.ProxyMode{v1alpha1.ModeNFTables, v1alpha1.ModeIPTables} {
		for _, local := range p.detect {
			t.Run(string(mode)+"/"+string(local.Detect), func(t *testing.T) { a.checkWith(t, mode, local) })
		}
		if p.policies {
			t.Run(string(mode)+"/NetworkPolicy", a.checkPolicy)
		}
		// What the others show: a node that does not know its Pods masquerades them.
		t.Run(string(mode)+"/Unknown", func(t *testing.T) {
			if err := use(t.Context(), mode, p.unknown); err != nil {
				t.Fatal(err)
			}
			for family := range 2 {
				answers(t, "a Pod that is not known", a.elsewhere, a.cluster.Spec.ClusterIPs[family], echoPort, bothPods, not(a.elsewhere.addresses[family]))
			}
		})
	}
	t.Run(string(v1alpha1.ModeUserspace), func(t *testing.T) { a.checkWith(t, v1alpha1.ModeUserspace, p.detect[0]) })
}

// checkRoutes looks for a plugin's routes on node-1, which may come after the first Pods.
func checkRoutes(t *testing.T, routes []string) {
	t.Helper()
	err := eventually(t.Context(), func() error {
		var installed []byte
		for _, family := range []string{"-4", "-6"} {
			out, err := exec.Command(labtest.Binary, "exec", "node-1", "--", "ip", family, "route").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			installed = append(installed, out...)
		}
		for _, route := range routes {
			if !strings.Contains(string(installed), route) {
				return fmt.Errorf("node-1 has no route %q; it has:\n%s", route, installed)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

var (
	bothPods = []string{"echo-1", "echo-2"}
	itsPod   = []string{"echo-2"}
)

// checkWith connects to the Services in both families, once the nodes use a mode and a way to detect Pods.
func (a arena) checkWith(t *testing.T, mode v1alpha1.ProxyMode, local v1alpha1.LocalTrafficOptions) {
	t.Helper()
	if err := use(t.Context(), mode, local); err != nil {
		t.Fatal(err)
	}
	own := is
	if mode == v1alpha1.ModeUserspace { // the agent opens the connections to Pods
		own = not
	}
	for family := range 2 {
		a.check(t, family, own)
	}
}

// check connects to the Services in one family. Where a mode may keep the client's own address, own looks at it.
func (a arena) check(t *testing.T, family int, own func(string) source) {
	t.Helper()
	vip, localVIP := a.cluster.Spec.ClusterIPs[family], a.local.Spec.ClusterIPs[family]
	port, localPort := a.cluster.Spec.Ports[0].NodePort, a.local.Spec.Ports[0].NodePort
	node2, node3 := []string{"10.89.0.12", "fd00:89::12"}[family], a.node3.addresses[family]
	outside := a.outside.addresses[family]

	answers(t, "Pod", a.elsewhere, vip, echoPort, bothPods, own(a.elsewhere.addresses[family]))
	answers(t, "a Pod of the Service", a.backends[1], vip, echoPort, bothPods, anyone)
	answers(t, "node", a.node3, vip, echoPort, bothPods, anyone)
	answers(t, "outside, ClusterIP", a.outside, vip, echoPort, bothPods, not(outside))
	answers(t, "outside, node port", a.outside, node3, port, bothPods, not(outside))
	answers(t, "Pod, node port", a.elsewhere, node2, port, bothPods, anyone)

	answers(t, "Pod, internal policy Local", a.beside, localVIP, echoPort, itsPod, own(a.beside.addresses[family]))
	silent(t, "Pod elsewhere, internal policy Local", a.elsewhere, localVIP, echoPort)
	answers(t, "outside, external policy Local", a.outside, node2, localPort, itsPod, own(outside))
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
