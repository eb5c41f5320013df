// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package explain says what nodes do with connections to a Service, and why. It decides nothing
// itself: rules/compile and rules/resolve, which the controller and the agents run, say it of the
// objects in the API.
package explain

import (
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Report is what becomes of the connections of a client to a Service.
type Report struct {
	// Service is namespace/name.
	Service string `json:"service"`
	// Client is whose connections these are.
	Client Client `json:"client"`
	// Notes are about the Service, whatever the node: values that are left out, rules that are not
	// yet those of the Service.
	Notes []string `json:"notes,omitempty"`
	// Nodes are the nodes that the connections may arrive at; those that do the same are together.
	Nodes []Nodes `json:"nodes"`
}

// Nodes are nodes that do the same with the connections.
type Nodes struct {
	Names []string           `json:"names"`
	Mode  v1alpha1.ProxyMode `json:"mode"`
	// Policy is the name of the ProxyConfig.
	Policy string `json:"policy"`
	// Balancing is how an endpoint is chosen: Random, or the scheduler of IPVS.
	Balancing string `json:"balancing,omitempty"`
	// Problems are why the kernel may have other rules.
	Problems []string `json:"problems,omitempty"`
	// Unread is why their kernels could not be read, if they were to be.
	Unread    string     `json:"unread,omitempty"`
	Frontends []Frontend `json:"frontends"`
}

// Frontend is an address and port of the Service.
type Frontend struct {
	// Address is address, port and protocol; that of a node port is the port and protocol.
	Address string        `json:"address"`
	Kind    model.Kind    `json:"kind"`
	Port    string        `json:"port,omitempty"` // its name
	Verdict model.Verdict `json:"verdict,omitempty"`
	// Reason is why connections are not forwarded.
	Reason string `json:"reason,omitempty"`
	// Masquerade says whether the endpoint sees the node's address as the client.
	Masquerade bool `json:"masquerade,omitempty"`
	// AffinitySeconds is how long a client keeps its endpoint; 0: no session affinity.
	AffinitySeconds int32 `json:"affinitySeconds,omitempty"`
	// Sources are the only clients that are let in, if Restricted.
	Restricted bool       `json:"restricted,omitempty"`
	Sources    []string   `json:"sources,omitempty"`
	Endpoints  []Endpoint `json:"endpoints,omitempty"`
	// Kernel is what the nodes' kernels have of it, if they were read.
	Kernel *Kernel `json:"kernel,omitempty"`
}

// Kernel is what a kernel has of a frontend: whether it is there, and whether all of it is what the
// agent has programmed.
type Kernel struct {
	Present bool `json:"present"`
	Equal   bool `json:"equal"`
}

// Endpoint is an endpoint of the port.
type Endpoint struct {
	// Address is address and port.
	Address string `json:"address"`
	Node    string `json:"node,omitempty"`
	Pod     string `json:"pod,omitempty"`
	// Share is the share of new connections in percent, of clients without session affinity.
	Share float64 `json:"share,omitempty"`
	// Unused is why the endpoint gets no new connections.
	Unused model.UnusedReason `json:"unused,omitempty"`
}
