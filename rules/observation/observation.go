// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observation is new connections to Services, as `fairlead-agent observe` prints them in JSON,
// one a line, and `kubectl fairlead observe` reads them. It decides which Service a connection is to.
package observation

import (
	"net/netip"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Version is that of the JSON. A field that is added does not change it; agent and plugin may be of
// different releases.
const Version = "v1"

// Start is the first line: from now on connections are shown.
type Start struct {
	// Version is Version.
	Version string `json:"version"`
	Node    string `json:"node"`
	// Mode is the active mode.
	Mode v1alpha1.ProxyMode `json:"mode"`
}

// Event is each other line: a new connection, or that some are not shown.
type Event struct {
	// Time is when the agent has read it.
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	// Lost is how many connections came faster than they could be read, since the event before of this
	// kind. All else is empty then.
	Lost uint64 `json:"lost,omitempty"`

	// Client is address and port. ClientPod is namespace/name of its Pod, ClientNode the node that has the
	// address; empty: neither is known.
	Client     string `json:"client,omitempty"`
	ClientPod  string `json:"clientPod,omitempty"`
	ClientNode string `json:"clientNode,omitempty"`
	// Service is namespace/name.
	Service string     `json:"service,omitempty"`
	Port    string     `json:"port,omitempty"` // its name
	Kind    model.Kind `json:"kind,omitempty"`
	// Destination is where the client sends to: address, port and protocol.
	Destination string `json:"destination,omitempty"`
	// Endpoint is address and port of the endpoint that has got the connection. EndpointPod and EndpointNode are as
	// those of the client.
	Endpoint     string `json:"endpoint,omitempty"`
	EndpointPod  string `json:"endpointPod,omitempty"`
	EndpointNode string `json:"endpointNode,omitempty"`
}

// Flow is a new connection as the kernel sees it, or the agent if that opens it. Destination is where the client sends its packets to,
// Endpoint where they are forwarded to.
type Flow struct {
	Protocol                      model.Protocol
	Client, Destination, Endpoint netip.AddrPort
}

// Key returns the frontend at the very address of the destination, if there is one.
func (f Flow) Key() model.FrontendKey {
	return model.FrontendKey{Address: f.Destination.Addr(), Protocol: f.Protocol, Port: f.Destination.Port()}
}

// Rules say what is a Service's, and what is the node's.
type Rules struct {
	Node      string
	Frontends map[model.FrontendKey]*model.Frontend
	// NodePortAddresses are the addresses that node ports answer on. The port alone is not enough: the
	// node may forward packets to the same port of other machines.
	NodePortAddresses map[netip.Addr]struct{}
	// Addresses are all of the node.
	Addresses map[netip.Addr]struct{}
}

// FrontendOf returns where a flow has come in; nil: it is to no Service. What has the very address comes
// before a node port, as in the kernel.
func (r *Rules) FrontendOf(f Flow) *model.Frontend {
	key := f.Key()
	if frontend := r.Frontends[key]; frontend != nil {
		return frontend
	}
	if _, answers := r.NodePortAddresses[key.Address]; answers {
		return r.Frontends[key.NodePort()]
	}
	return nil
}

// Event returns what is shown of a flow that has come in at a frontend.
func (r *Rules) Event(at time.Time, f Flow, to *model.Frontend) Event {
	return Event{
		Time: at, Node: r.Node,
		Client: f.Client.String(), ClientNode: r.own(f.Client.Addr()),
		Service: to.Service.Namespace + "/" + to.Service.Name, Port: to.PortName, Kind: to.Kind,
		Destination: f.Destination.String() + "/" + f.Protocol.String(),
		Endpoint:    f.Endpoint.String(), EndpointNode: r.own(f.Endpoint.Addr()),
	}
}

// own returns the node's name if it has an address.
func (r *Rules) own(a netip.Addr) string {
	if _, own := r.Addresses[a]; own {
		return r.Node
	}
	return ""
}
