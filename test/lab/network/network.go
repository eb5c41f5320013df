// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package network builds the lab's network out of named network namespaces:
// nodes on a bridge behind a router, one client outside, and a namespace per
// Pod. It touches no link, address, route or sysctl of the host's own
// namespace.
package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// Node is one machine of the lab: a network namespace with an address on the
// nodes' network and a range of Pod addresses of its own.
type Node struct {
	// Name is the node's name in the cluster, such as node-1.
	Name string
	// NetNSPath is the file that holds the node's network namespace.
	NetNSPath string
	// IPv4 and IPv6 are the node's addresses on the nodes' network.
	IPv4, IPv6 netip.Addr
	// PodCIDRv4 and PodCIDRv6 are the ranges that the node's Pods live in.
	PodCIDRv4, PodCIDRv6 netip.Prefix
}

// PodNet is what AddPod made for one Pod.
type PodNet struct {
	// NetNSPath is the file that holds the Pod's network namespace.
	NetNSPath string
	// IPv4 and IPv6 are the Pod's addresses.
	IPv4, IPv6 netip.Addr
}

// Topology is the lab's network. Its methods may be called concurrently.
type Topology struct {
	mu sync.Mutex
}

// AddPod makes the namespace fl-pod-<id>, and connects it to the node. Calling
// it again for the same node and id returns the same answer.
func (t *Topology) AddPod(node Node, id string) (PodNet, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return PodNet{}, errors.New("not built yet")
}

// DelPod undoes AddPod. A Pod that is not there is no error.
func (t *Topology) DelPod(node Node, id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.New("not built yet")
}

// Do runs fn on an OS thread that is inside the network namespace held by the
// file netnsPath. fn must not start goroutines that rely on the namespace:
// they would run outside of it. Processes that fn starts are inside.
func Do(netnsPath string, fn func() error) error {
	return errors.New("not built yet")
}

// DialContext returns a dial function, fit for http.Transport and rest.Config,
// whose connections start in the network namespace held by netnsPath.
func DialContext(netnsPath string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("not built yet")
	}
}

// Listen opens a listening TCP socket inside the network namespace held by
// netnsPath. Accepting from it works from any thread.
func Listen(netnsPath, address string) (net.Listener, error) {
	return nil, errors.New("not built yet")
}
