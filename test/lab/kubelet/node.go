// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	heartbeatInterval = 10 * time.Second
	// statusInterval is the longest time between two reports of an unchanged
	// status.
	statusInterval = time.Minute
	leaseDuration  = 40 * time.Second
	// version is what the Node shows as its kubelet's.
	version = "v1.37.2-lab"
)

// every calls f until it succeeds, soon again each time, and from then on once
// per heartbeat.
func (k *kubelet) every(ctx context.Context, what string, f func(context.Context) error) {
	retry := 100 * time.Millisecond
	for {
		wait := heartbeatInterval
		if err := f(ctx); err != nil && ctx.Err() == nil {
			k.Log.Info("will try again", "what", what, "error", err.Error())
			wait, retry = retry, min(retry*2, heartbeatInterval)
		} else {
			retry = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// keepNode registers the node and keeps its status.
func (k *kubelet) keepNode(ctx context.Context) { k.every(ctx, "node status", k.reportNode) }

func (k *kubelet) reportNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	nodes := k.client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, k.Node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		node, err = nodes.Create(ctx, k.newNode(), metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	labelled := node.DeepCopy()
	if labelled.Labels == nil {
		labelled.Labels = map[string]string{}
	}
	maps.Copy(labelled.Labels, k.labels())
	if !maps.Equal(labelled.Labels, node.Labels) {
		if node, err = nodes.Update(ctx, labelled, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	reported := node.DeepCopy()
	if !k.setNodeStatus(reported, metav1.Now()) {
		return nil
	}
	_, err = nodes.UpdateStatus(ctx, reported, metav1.UpdateOptions{})
	return err
}

func (k *kubelet) labels() map[string]string {
	return map[string]string{
		corev1.LabelHostname: k.Node.Name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
	}
}

func (k *kubelet) newNode() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: k.Node.Name, Labels: k.labels()},
		Spec: corev1.NodeSpec{
			PodCIDR:  k.Node.PodCIDRv4.String(),
			PodCIDRs: []string{k.Node.PodCIDRv4.String(), k.Node.PodCIDRv6.String()},
		},
	}
}

// setNodeStatus writes the status and reports whether it is worth reporting.
func (k *kubelet) setNodeStatus(node *corev1.Node, now metav1.Time) bool {
	old := node.Status.DeepCopy()
	status := &node.Status
	status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: k.Node.IPv4.String()},
		{Type: corev1.NodeInternalIP, Address: k.Node.IPv6.String()},
		{Type: corev1.NodeHostName, Address: k.Node.Name},
	}
	status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory:           resource.MustParse("4Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("10Gi"),
		corev1.ResourcePods:             resource.MustParse("110"),
	}
	status.Allocatable = status.Capacity
	status.DaemonEndpoints.KubeletEndpoint.Port = Port
	status.NodeInfo.KubeletVersion = version
	status.NodeInfo.ContainerRuntimeVersion = "lab://1"
	status.NodeInfo.OperatingSystem, status.NodeInfo.Architecture = runtime.GOOS, runtime.GOARCH
	status.NodeInfo.OSImage = "the host's files"
	status.NodeInfo.MachineID, status.NodeInfo.SystemUUID, status.NodeInfo.BootID = k.Node.Name, k.Node.Name, k.Node.Name
	for _, pressure := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		setNodeCondition(status, corev1.NodeCondition{
			Type: pressure, Status: corev1.ConditionFalse, Reason: "NotMeasured", Message: "the lab does not measure this",
		}, now)
	}
	setNodeCondition(status, corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the lab's kubelet runs Pods",
	}, now)
	fresh := now.Sub(readyHeartbeat(old)) < statusInterval
	return !fresh || !equality.Semantic.DeepEqual(withoutHeartbeats(old), withoutHeartbeats(status))
}

func setNodeCondition(status *corev1.NodeStatus, condition corev1.NodeCondition, now metav1.Time) {
	condition.LastHeartbeatTime, condition.LastTransitionTime = now, now
	for i := range status.Conditions {
		if old := &status.Conditions[i]; old.Type == condition.Type {
			if old.Status == condition.Status {
				condition.LastTransitionTime = old.LastTransitionTime
			}
			*old = condition
			return
		}
	}
	status.Conditions = append(status.Conditions, condition)
}

func readyHeartbeat(status *corev1.NodeStatus) time.Time {
	for _, condition := range status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.LastHeartbeatTime.Time
		}
	}
	return time.Time{}
}

func withoutHeartbeats(status *corev1.NodeStatus) *corev1.NodeStatus {
	bare := status.DeepCopy()
	for i := range bare.Conditions {
		bare.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	return bare
}

// keepLease renews the node's Lease, by which the control plane sees it alive.
func (k *kubelet) keepLease(ctx context.Context) { k.every(ctx, "node lease", k.renewLease) }

func (k *kubelet) renewLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NewMicroTime(time.Now())
	lease, err := leases.Get(ctx, k.Node.Name, metav1.GetOptions{})
	if err == nil {
		lease.Spec.RenewTime = &now
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	node, err := k.client.CoreV1().Nodes().Get(ctx, k.Node.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("owner of the lease: %w", err)
	}
	lease = &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: k.Node.Name, Namespace: corev1.NamespaceNodeLease,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(node, corev1.SchemeGroupVersion.WithKind("Node"))},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       &k.Node.Name,
			LeaseDurationSeconds: ptr.To(int32(leaseDuration.Seconds())), RenewTime: &now,
		},
	}
	lease.OwnerReferences[0].Controller, lease.OwnerReferences[0].BlockOwnerDeletion = nil, nil
	_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
	return err
}

// shortID names a Pod's network: the UID's first part, which no other Pod of a
// lab has.
func shortID(uid string) string {
	return strings.ReplaceAll(uid, "-", "")[:10]
}
