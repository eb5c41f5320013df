// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"cmp"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Reason is a one-word reason why something is not programmed as desired.
type Reason string

// Reasons that several modes have.
const (
	// ReasonIPv6: IPv6 is desired, and this node cannot program it.
	ReasonIPv6 Reason = "IPv6"
	// ReasonLocalhost: node ports do not answer on 127.0.0.1.
	ReasonLocalhost Reason = "NodePortLocalhost"
	// ReasonEndpoints: a Service has more endpoints than this mode programs.
	ReasonEndpoints Reason = "Endpoints"
)

// Limitation is something desired that this node does not support in this mode.
type Limitation struct {
	Reason Reason

	// Message says what is not programmed, why, and what helps. It has no numbers that
	// change with each Service.
	Message string

	// Frontends are the first of the frontends concerned, at most MaxNamed, sorted;
	// Services are theirs, sorted. Both are empty if it concerns the node as a whole.
	Frontends []model.FrontendKey
	Services  []model.ServiceID

	// Count is the number of frontends concerned.
	Count int
}

// MaxNamed bounds how many frontends a Limitation names.
const MaxNamed = 5

// String returns the message, and a frontend as an example.
func (l Limitation) String() string {
	if len(l.Frontends) == 0 {
		return l.Message
	}
	return l.Message + " (such as " + l.Frontends[0].String() + ")"
}

// LeftOut records the frontends that a mode does not program, or not as desired. The cost
// of a change does not depend on their number. The zero value is empty.
type LeftOut struct {
	reasons map[Reason]*leftOut
	node    map[Reason]error // that concern the node as a whole
}

type leftOut struct {
	frontends map[model.FrontendKey]leftOutFrontend
	named     []model.FrontendKey // the first of them, sorted
}

type leftOutFrontend struct {
	service model.ServiceID
	message string
}

// Add records that a frontend is concerned.
func (l *LeftOut) Add(reason Reason, message string, key model.FrontendKey, service model.ServiceID) {
	if l.reasons == nil {
		l.reasons = map[Reason]*leftOut{}
	}
	r := l.reasons[reason]
	if r == nil {
		r = &leftOut{frontends: map[model.FrontendKey]leftOutFrontend{}}
		l.reasons[reason] = r
	}
	r.frontends[key] = leftOutFrontend{service, message}
	r.name(key)
}

// Remove records that a frontend is no longer concerned.
func (l *LeftOut) Remove(reason Reason, key model.FrontendKey) {
	r := l.reasons[reason]
	if r == nil {
		return
	}
	if _, ok := r.frontends[key]; !ok {
		return
	}
	delete(r.frontends, key)
	if len(r.frontends) == 0 {
		delete(l.reasons, reason)
		return
	}
	i, named := slices.BinarySearchFunc(r.named, key, model.FrontendKey.Compare)
	if !named {
		return
	}
	r.named = slices.Delete(r.named, i, i+1)
	if len(r.named) < len(r.frontends) { // one in many changes comes here
		for other := range r.frontends {
			r.name(other)
		}
	}
}

// Forget records that a frontend was removed or is programmed as desired.
func (l *LeftOut) Forget(key model.FrontendKey) {
	for reason := range l.reasons {
		l.Remove(reason, key)
	}
}

// Clear records that a reason no longer concerns any frontend.
func (l *LeftOut) Clear(reason Reason) { delete(l.reasons, reason) }

// Node records a limitation of the node as a whole; nil: none.
func (l *LeftOut) Node(reason Reason, err error) {
	if err == nil {
		delete(l.node, reason)
		return
	}
	if l.node == nil {
		l.node = map[Reason]error{}
	}
	l.node[reason] = err
}

// name adds a frontend to the named ones if it is among the first.
func (r *leftOut) name(key model.FrontendKey) {
	if i, named := slices.BinarySearchFunc(r.named, key, model.FrontendKey.Compare); !named && i < MaxNamed {
		r.named = slices.Insert(r.named, i, key)
		r.named = r.named[:min(len(r.named), MaxNamed)]
	}
}

// Count returns the number of frontends that a reason concerns.
func (l *LeftOut) Count(reason Reason) int {
	if r := l.reasons[reason]; r != nil {
		return len(r.frontends)
	}
	return 0
}

// Limitations returns one for each reason, sorted, with the message of the first
// frontend that it names.
func (l *LeftOut) Limitations() []Limitation {
	var out []Limitation
	for reason, err := range l.node {
		out = append(out, Limitation{Reason: reason, Message: err.Error()})
	}
	for reason := range l.reasons {
		r := l.reasons[reason]
		limitation := Limitation{Reason: reason, Message: r.frontends[r.named[0]].message, Frontends: slices.Clone(r.named), Count: len(r.frontends)}
		for _, key := range r.named {
			limitation.Services = append(limitation.Services, r.frontends[key].service)
		}
		slices.SortFunc(limitation.Services, func(a, b model.ServiceID) int { return cmp.Compare(a.String(), b.String()) })
		limitation.Services = slices.Compact(limitation.Services)
		out = append(out, limitation)
	}
	slices.SortFunc(out, func(a, b Limitation) int { return cmp.Compare(a.Reason, b.Reason) })
	return out
}

// NoIPv6 records an IPv6 frontend that is left out because the mode has no IPv6 on this
// node; err is the reason, nil: it has.
func (l *LeftOut) NoIPv6(err error, key model.FrontendKey, f *model.Frontend) {
	if !key.Address.Is6() {
		return
	}
	if err == nil || f == nil {
		l.Remove(ReasonIPv6, key)
		return
	}
	l.Add(ReasonIPv6, "IPv6: "+err.Error(), key, f.Service)
}
