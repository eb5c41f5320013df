// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// ClientKind is where connections come from.
type ClientKind string

// The kinds of clients.
const (
	// ClientPod is a Pod with an address of its own.
	ClientPod ClientKind = "Pod"
	// ClientNode is a process of a node, or a Pod in its network.
	ClientNode ClientKind = "Node"
	// ClientExternal is everything else.
	ClientExternal ClientKind = "External"
)

// Client is whose connections are explained.
type Client struct {
	Kind ClientKind `json:"kind"`
	// Name is namespace/name of a Pod, or the name of a node; empty: any.
	Name string `json:"name,omitempty"`
	// Address is the client's, if it is known.
	Address string `json:"address,omitempty"`
	// Node is the node that the connections arrive at; empty: any.
	Node string `json:"node,omitempty"`
}

// ParseClient reads the flag --from: [pod/][NAMESPACE/]NAME, node/NODE, or external[/ADDRESS]. Of
// a Pod it returns the name only.
func ParseClient(text, namespace string) (Client, error) {
	kind, rest, found := strings.Cut(text, "/")
	switch {
	case text == "":
		return Client{Kind: ClientPod}, nil
	case kind == "external" && !found:
		return Client{Kind: ClientExternal}, nil
	case kind == "external":
		addr, err := netip.ParseAddr(rest)
		if err != nil {
			return Client{}, fmt.Errorf("--from: %w; use external/ADDRESS", err)
		}
		return Client{Kind: ClientExternal, Address: addr.String()}, nil
	case kind == "node" && found:
		if rest == "" || strings.Contains(rest, "/") {
			return Client{}, errors.New("--from: use node/NAME")
		}
		return Client{Kind: ClientNode, Name: rest, Node: rest}, nil
	case kind == "pod" && found:
		text = rest
	}
	if !strings.Contains(text, "/") {
		text = namespace + "/" + text
	}
	if parts := strings.Split(text, "/"); len(parts) != 2 || parts[0] == "" || parts[1] == "" {
		return Client{}, errors.New("--from: use pod/NAME, NAMESPACE/NAME, node/NAME or external[/ADDRESS]")
	}
	return Client{Kind: ClientPod, Name: text}, nil
}

// backend returns what becomes of the client's connections.
func (c Client) backend(f *model.Frontend) model.Backend {
	if c.Kind == ClientExternal {
		return f.External
	}
	return f.Internal
}

// masqueraded says whether endpoints see the node's address in place of the client's.
func (c Client) masqueraded(m model.Masquerade) bool {
	switch m {
	case model.MasqueradeAlways:
		return c.Kind != ClientNode // which has that address
	case model.MasqueradeUnlessPod:
		return c.Kind == ClientExternal
	}
	return false
}

// denied says whether a frontend drops the packets of a client, if its address is known.
func (c Client) denied(f *model.Frontend, nodePortSources []netip.Prefix) bool {
	sources := f.Sources
	if f.Kind == model.KindNodePort {
		sources = nodePortSources
		if c.Kind == ClientNode {
			return false
		}
	}
	addr, err := netip.ParseAddr(c.Address)
	if !f.Restricted || err != nil {
		return false
	}
	for _, p := range sources {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}
