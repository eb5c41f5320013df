// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Pauses of a watch. A client-go reflector may wait for 30 seconds after an outage, while
// agents are connected again: then the history would be behind them.
const (
	retryPause  = 100 * time.Millisecond
	listTimeout = 2 * time.Second
	// watchTime is when a watch is replaced: a connection that hangs is noticed then.
	watchTime = 20 * time.Second
)

// Watch follows the EndpointSlices and Pods of a namespace until ctx ends. A deleted Pod ends
// its service after grace, which its preStop hook waits for.
func (h *History) Watch(ctx context.Context, api client.WithWatch, namespace string, grace time.Duration) {
	go follow(ctx, api, namespace, func() client.ObjectList { return &corev1.PodList{} }, func(obj runtime.Object, _ bool) {
		if pod := obj.(*corev1.Pod); pod.DeletionTimestamp != nil {
			// Of whole seconds.
			deleted := pod.DeletionTimestamp.Add(-time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second)
			h.PodEnds(pod.Name, deleted.Add(grace-time.Second))
		}
	})
	follow(ctx, api, namespace, func() client.ObjectList { return &discoveryv1.EndpointSliceList{} }, func(obj runtime.Object, gone bool) {
		slice := obj.(*discoveryv1.EndpointSlice)
		key := Key{slice.Labels[discoveryv1.LabelServiceName], corev1.IPFamily(slice.AddressType)}
		var endpoints []Endpoint
		for _, e := range slice.Endpoints {
			if e.TargetRef == nil || gone {
				continue
			}
			ready := ptr.Deref(e.Conditions.Ready, true)
			endpoints = append(endpoints, Endpoint{
				Pod: e.TargetRef.Name, Ready: ready,
				Serving: ptr.Deref(e.Conditions.Serving, ready), Terminating: ptr.Deref(e.Conditions.Terminating, false),
			})
		}
		h.Slice(time.Now(), key, slice.Name, endpoints)
	})
}

// follow calls changed for every object, at the beginning and whenever it changes or goes.
func follow(ctx context.Context, api client.WithWatch, namespace string, newList func() client.ObjectList,
	changed func(obj runtime.Object, gone bool)) {
	known := map[string]runtime.Object{}
	for ctx.Err() == nil {
		// An error means another list: there is none to report, since outages are what is tested.
		_ = followOnce(ctx, api, namespace, newList(), known, changed)
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

func followOnce(ctx context.Context, api client.WithWatch, namespace string, list client.ObjectList,
	known map[string]runtime.Object, changed func(obj runtime.Object, gone bool)) error {
	listing, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	if err := api.List(listing, list, client.InNamespace(namespace)); err != nil {
		return err
	}
	old := maps.Clone(known)
	items, err := apimeta.ExtractList(list)
	if err != nil {
		return err
	}
	for _, item := range items {
		name := item.(client.Object).GetName()
		delete(old, name)
		known[name] = item
		changed(item, false)
	}
	for name, obj := range old {
		delete(known, name)
		changed(obj, true)
	}
	watching, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	w, err := api.Watch(watching, list, client.InNamespace(namespace), &client.ListOptions{
		Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case <-watching.Done():
			return watching.Err()
		case event, open := <-w.ResultChan():
			obj, ok := event.Object.(client.Object)
			if !open || !ok || event.Type == watch.Error {
				return fmt.Errorf("watch: %v", event.Object)
			}
			known[obj.GetName()] = obj
			if event.Type == watch.Deleted {
				delete(known, obj.GetName())
			}
			changed(obj, event.Type == watch.Deleted)
		}
	}
}
