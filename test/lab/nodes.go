// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// createNode registers a node with what only the lab knows: where it stands and
// which Pod addresses are routed to it. Its kubelet does the rest.
func createNode(ctx context.Context, client kubernetes.Interface, node network.Node, number int) error {
	object := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: node.Name,
			Labels: map[string]string{
				corev1.LabelHostname:   node.Name,
				corev1.LabelOSStable:   runtime.GOOS,
				corev1.LabelArchStable: runtime.GOARCH,
				// One zone per node: zone-a, zone-b, zone-c.
				corev1.LabelTopologyZone:   "zone-" + string(rune('a'+number%26)),
				corev1.LabelTopologyRegion: "lab",
			},
		},
		Spec: corev1.NodeSpec{
			PodCIDR:  node.PodCIDRv4.String(),
			PodCIDRs: []string{node.PodCIDRv4.String(), node.PodCIDRv6.String()},
			// An emulated processor is slow: only Pods that are meant to run there do.
			Unschedulable: node.VM,
		},
	}
	_, err := client.CoreV1().Nodes().Create(ctx, object, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create %s: %w", node.Name, err)
	}
	return nil
}

// nodesReady returns an error with the number of nodes that are not ready.
func nodesReady(ctx context.Context, client kubernetes.Interface, want int) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	ready := 0
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && !slices.ContainsFunc(node.Spec.Taints, notReady) {
				ready++
			}
		}
	}
	if ready < want {
		return fmt.Errorf("%d of %d nodes are ready", ready, want)
	}
	return nil
}

// notReady says whether a taint goes when its node is ready. That of a cordoned node stays.
func notReady(taint corev1.Taint) bool { return taint.Key != corev1.TaintNodeUnschedulable }
