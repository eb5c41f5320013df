// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// watchPods watches the Pods bound to the node and notifies their workers, until
// ctx ends.
func (k *kubelet) watchPods(ctx context.Context) {
	pods := k.client.CoreV1().Pods(corev1.NamespaceAll)
	mine := fields.OneTermEqualSelector("spec.nodeName", k.Node.Name).String()
	source := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = mine
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = mine
			return pods.Watch(ctx, options)
		},
	}, k.client)
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source, ObjectType: &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(object any) { k.updatePod(ctx, object.(*corev1.Pod)) },
			UpdateFunc: func(old, object any) {
				// A gap in the watch can hide that a Pod was replaced by another of
				// its name.
				if before, now := old.(*corev1.Pod), object.(*corev1.Pod); before.UID != now.UID {
					k.forgetPod(before.UID)
				}
				k.updatePod(ctx, object.(*corev1.Pod))
			},
			DeleteFunc: func(object any) {
				if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = tombstone.Obj
				}
				if pod, ok := object.(*corev1.Pod); ok {
					k.forgetPod(pod.UID)
				}
			},
		},
	})
	informer.RunWithContext(ctx)
}

// updatePod hands the Pod to its worker. There is none yet for a new Pod, and
// there will be none for one that has ended already.
func (k *kubelet) updatePod(ctx context.Context, pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w, ok := k.workers[pod.UID]; ok {
		w.update(pod)
		return
	}
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if ended && pod.DeletionTimestamp == nil || ctx.Err() != nil {
		return
	}
	w := newWorker(k, pod)
	k.workers[pod.UID] = w
	k.running.Go(func() {
		w.run(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.workers, pod.UID)
	})
}

// forgetPod notifies the worker that the Pod's object is deleted.
func (k *kubelet) forgetPod(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w, ok := k.workers[uid]; ok {
		w.gone()
	}
}

// find returns the worker of a Pod by its name, or nil.
func (k *kubelet) find(namespace, name string) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if pod := w.currentPod(); pod.Namespace == namespace && pod.Name == name {
			return w
		}
	}
	return nil
}
