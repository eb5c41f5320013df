// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observe names the addresses of new connections, and writes them as they come.
package observe

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Name is whose an address is: a Pod's (namespace/name), or a node's.
type Name struct{ Pod, Node string }

// Names are those of all addresses that Pods have. The zero value knows none.
type Names struct {
	mu    sync.Mutex
	names map[string]Name
	byPod map[types.NamespacedName][]string
}

// Set learns the addresses of a Pod, which may be a known one.
func (n *Names) Set(pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	n.forget(key)
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed // another one may have the address
	if ended {
		return
	}
	if n.names == nil {
		n.names, n.byPod = map[string]Name{}, map[types.NamespacedName][]string{}
	}
	name := Name{Pod: key.String()}
	if pod.Spec.HostNetwork {
		name = Name{Node: pod.Spec.NodeName}
	}
	for _, ip := range pod.Status.PodIPs {
		addr, err := model.ParseAddr(ip.IP)
		if err != nil {
			continue
		}
		n.names[addr.String()] = name
		if !pod.Spec.HostNetwork { // a node keeps its addresses
			n.byPod[key] = append(n.byPod[key], addr.String())
		}
	}
}

// Delete forgets a Pod.
func (n *Names) Delete(pod types.NamespacedName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(pod)
}

func (n *Names) forget(pod types.NamespacedName) {
	for _, a := range n.byPod[pod] {
		if n.names[a].Pod == pod.String() {
			delete(n.names, a)
		}
	}
	delete(n.byPod, pod)
}

// of returns whose an address is.
func (n *Names) of(address string) Name {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names[address]
}
