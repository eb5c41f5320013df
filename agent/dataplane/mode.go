// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Mode is a way to program a node's kernel, and everything that the agent has to know
// about it. A new mode is one package, one line in agent/modes, and its name and options
// in the API.
type Mode struct {
	Name v1alpha1.ProxyMode

	// AutoRank is the mode's place among those that Auto tries, the lowest first;
	// 0: Auto never chooses it.
	AutoRank int

	Kind Kind

	// MaxEndpoints is how many endpoints of a Service it programs at most, of all its ports
	// together, and of a load balancer of all its frontends; 0: any number.
	MaxEndpoints int

	// RewritesEndpoints says that one changed endpoint of a port costs as much as if all
	// were new.
	RewritesEndpoints bool

	// MaxStep is what one call of Apply may cost, such that it takes at most 50 ms: other
	// changes wait for it, then take as long themselves. A frontend costs one, and so does
	// each endpoint and source range that changes (see resolve.Costs). 0: the default.
	MaxStep int

	// Inherits is the mode of kube-proxy that leaves what this mode recognizes as its own, and so
	// can clean up, besides what it leaves in iptables; empty: none does.
	Inherits v1alpha1.KubeProxyMode

	// Parse returns the mode's own parameters in the rules of a node. The error names
	// those that are malformed, which are left out. Nil: the mode has no parameters.
	Parse func(v1alpha1.NodeRuleSetSpec) (Options, error)

	// Open opens the mode in a network namespace. An ErrUnsupported is final: the mode
	// cannot run here, so there is nothing to clean up either.
	Open func(Env) (Dataplane, error)

	// Scheduler returns the scheduler that Options choose; nil: the mode has no choice.
	Scheduler func(Options) string

	// Collectors are the mode's own metrics.
	Collectors []prometheus.Collector

	// Flows are the new connections of a mode that opens them itself; nil: the kernel's
	// connection tracking has them, with their endpoints.
	Flows *Flows
}

// ParseOptions calls Parse, if there is one.
func (m Mode) ParseOptions(spec v1alpha1.NodeRuleSetSpec) (Options, error) {
	if m.Parse == nil {
		return nil, nil
	}
	return m.Parse(spec)
}

// Kind is how a mode forwards packets to endpoints. It decides how two modes hand over
// when one replaces the other, see Handover.
type Kind int

const (
	// NAT translates packets with rules of netfilter. Its open connections are in the
	// kernel's connection tracking, which translates them even without the rules, as long
	// as something enables tracking.
	NAT Kind = iota + 1

	// LoadBalancer is a load balancer in the kernel with its own connection table (IPVS).
	// Connections end with its virtual servers.
	LoadBalancer

	// Proxy opens the connections to endpoints itself. It gets only the packets that no
	// rules match first, and has nothing in connection tracking.
	Proxy
)

// Env is the environment in which a mode is opened.
type Env struct {
	// NetNS is a file descriptor of the network namespace to program, which the caller
	// keeps open; 0 is the namespace of the calling thread.
	NetNS int

	Log logr.Logger

	// Sysctls are the kernel's parameters of that namespace.
	Sysctls sysctl.Tree
}

// Options are the parameters of one mode, as returned by its Parse. Only the mode knows
// their type; others compare them (reflect.DeepEqual) and pass them on. nil stands for the
// defaults.
//
// They are not part of model.Desired, so that a mode can have parameters that no other
// package has to know. A change of them requires a Sync: that is rare, and never urgent.
type Options any

// Capability is what a kernel supports of a mode that it can run.
type Capability struct {
	// Variant names the implementation that this node uses, with its version, if there are
	// several; empty: there is only one.
	Variant string

	// Schedulers are the supported schedulers, of a mode that leaves the choice of the
	// endpoint to the kernel.
	Schedulers []string
}

// ErrUnsupported says that something does not exist: a module, a program, an address
// family. The caller need not try again soon. An error that is not ErrUnsupported is
// temporary, such as no memory or a lock that is held, see Retry.
var ErrUnsupported = errors.New("not supported by this node")

// Unsupported makes an error an ErrUnsupported. Its text is unchanged.
func Unsupported(err error) error {
	if err == nil {
		return nil
	}
	return unsupported{err}
}

type unsupported struct{ error }

func (u unsupported) Is(target error) bool { return target == ErrUnsupported }
func (u unsupported) Unwrap() error        { return u.error }
