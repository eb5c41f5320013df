// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"fmt"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// daemon is a process that a node has, or may have, on a TCP port.
type daemon struct {
	name string

	// everywhere says that it listens at all addresses. Then a socket at any address keeps
	// it from starting again. The others listen at addresses of the node.
	everywhere bool
}

// daemons are those of a Kubernetes node on their default ports, see "Ports and Protocols"
// in the documentation of Kubernetes, and the flags of the agent. A Service that has one of
// these ports could take it when the daemon is restarted: users of Services must not be able
// to stop a node.
var daemons = map[uint16]daemon{
	22:    {"sshd", true},
	2379:  {"etcd", false},
	2380:  {"etcd", false},
	6443:  {"kube-apiserver", true},
	10248: {"kubelet", false}, // healthz
	10249: {"the agent or kube-proxy", true},
	10250: {"kubelet", true},
	10256: {"the agent or kube-proxy", true},
	10257: {"kube-controller-manager", true},
	10259: {"kube-scheduler", true},
	10272: {"the agent", false}, // probes of the kubelet
}

// reserved returns why there is no socket at a place; empty: there may be one. own says
// whether the address is one of the node.
func reserved(at place, own bool) string {
	d, known := daemons[at.Port]
	if !known || at.Protocol != model.TCP || !own && !d.everywhere {
		return ""
	}
	where := "at addresses of the node"
	if d.everywhere {
		where = "at any address"
	}
	return fmt.Sprintf("frontends have no socket: in this mode a Service cannot have port %d %s, which %s needs: give it another port, or choose another mode", at.Port, where, d.name)
}
