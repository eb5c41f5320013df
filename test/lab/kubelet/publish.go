// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podstatus"
)

// ownConditions are the conditions that a kubelet writes; all others belong to
// someone else.
var ownConditions = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady,
}

// publisher brings a Pod's status to the apiserver: the newest at once, however
// long the apiserver took for the one before.
type publisher struct {
	client    kubernetes.Interface
	namespace string
	name      string
	uid       types.UID
	wake      chan struct{}

	mu       sync.Mutex
	computed corev1.PodStatus // the newest
	final    bool             // nothing follows: delete the Pod after this one

	// What the apiserver has, and in which version of the Pod.
	confirmed        corev1.PodStatus
	confirmedVersion string
}

func newPublisher(client kubernetes.Interface, pod *corev1.Pod) *publisher {
	return &publisher{
		client: client, namespace: pod.Namespace, name: pod.Name, uid: pod.UID, wake: make(chan struct{}, 1),
		computed: pod.Status, confirmed: pod.Status, confirmedVersion: pod.ResourceVersion,
	}
}

// publish computes the status from the facts and hands it in.
func (p *publisher) publish(pod *corev1.Pod, facts podstatus.Facts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The object may not have the last published status yet, but it has the
	// conditions of other writers.
	base := *pod
	base.Status = *p.computed.DeepCopy()
	base.Status.Conditions = append(own(p.computed.Conditions), others(pod.Status.Conditions)...)
	status := podstatus.Compute(&base, facts, time.Now())
	overwritten := p.confirm(pod) && !equality.Semantic.DeepEqual(own(pod.Status.Conditions), own(status.Conditions))
	if !overwritten && equality.Semantic.DeepEqual(status, p.computed) {
		return
	}
	p.computed = status
	p.poke()
}

// confirm records the apiserver's status if it has changed. Others write to a Pod
// as well: the node lifecycle controller makes Pods unready whose node was
// silent for long, and leaves it to the kubelet to say otherwise.
func (p *publisher) confirm(pod *corev1.Pod) (changed bool) {
	if p.confirmedVersion != "" {
		order, err := resourceversion.CompareResourceVersion(pod.ResourceVersion, p.confirmedVersion)
		if err != nil || order <= 0 {
			return false
		}
	}
	p.confirmed, p.confirmedVersion = pod.Status, pod.ResourceVersion
	return true
}

// finish deletes the Pod's object once its last status is written.
func (p *publisher) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.final = true
	p.poke()
}

func (p *publisher) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends, the Pod is gone, or finish has been done.
func (p *publisher) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		for retry := 50 * time.Millisecond; ; retry = min(2*retry, 5*time.Second) {
			p.mu.Lock()
			status, final := p.computed, p.final
			p.mu.Unlock()
			err := p.send(ctx, status)
			if err == nil && final {
				err = p.delete(ctx)
			}
			if err == nil && final || err != nil && p.gone(ctx, err) {
				return
			}
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(retry):
			}
		}
	}
}

// gone reports whether err means that the Pod is gone. A conflict does when it is
// about the UID: another Pod has the name now.
func (p *publisher) gone(ctx context.Context, err error) bool {
	if apierrors.IsConflict(err) {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		var pod *corev1.Pod
		if pod, err = p.client.CoreV1().Pods(p.namespace).Get(ctx, p.name, metav1.GetOptions{}); err == nil {
			return pod.UID != p.uid
		}
	}
	return apierrors.IsNotFound(err)
}

// send patches what differs from the status that the apiserver has.
func (p *publisher) send(ctx context.Context, status corev1.PodStatus) error {
	p.mu.Lock()
	confirmed := p.confirmed
	p.mu.Unlock()
	patch, err := statusPatch(p.uid, confirmed, status)
	if err != nil || patch == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	pod, err := p.client.CoreV1().Pods(p.namespace).Patch(ctx, p.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirm(pod)
	return nil
}

func (p *publisher) delete(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now := int64(0)
	return p.client.CoreV1().Pods(p.namespace).Delete(ctx, p.name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.uid},
	})
}

// statusPatch is the difference of two statuses, as far as it is the kubelet's;
// nil when there is none.
func statusPatch(uid types.UID, from, to corev1.PodStatus) ([]byte, error) {
	encode := func(status corev1.PodStatus) ([]byte, error) {
		status.Conditions = own(status.Conditions)
		return json.Marshal(corev1.Pod{Status: status})
	}
	before, err := encode(from)
	if err != nil {
		return nil, fmt.Errorf("encode the status: %w", err)
	}
	after, err := encode(to)
	if err != nil {
		return nil, fmt.Errorf("encode the status: %w", err)
	}
	diff, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("compare the statuses: %w", err)
	}
	var patch map[string]any
	if err := json.Unmarshal(diff, &patch); err != nil {
		return nil, fmt.Errorf("decode the difference: %w", err)
	}
	if len(patch) == 0 {
		return nil, nil
	}
	patch["metadata"] = map[string]any{"uid": uid}
	return json.Marshal(patch)
}

func own(conditions []corev1.PodCondition) []corev1.PodCondition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c corev1.PodCondition) bool {
		return !slices.Contains(ownConditions, c.Type)
	})
}

func others(conditions []corev1.PodCondition) []corev1.PodCondition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c corev1.PodCondition) bool {
		return slices.Contains(ownConditions, c.Type)
	})
}
