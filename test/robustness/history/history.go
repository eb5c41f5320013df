// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package history keeps which Pods were endpoints of a Service at which time, as the API
// showed it.
package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Key is a Service in one address family.
type Key struct {
	Service string
	Family  corev1.IPFamily
}

// Endpoint is one endpoint of an EndpointSlice.
type Endpoint struct {
	Pod                         string
	Ready, Serving, Terminating bool
}

// version is what a Service's EndpointSlices said from a time on, until the next version.
type version struct {
	from time.Time
	// usable and serving are Pods: where new connections go, and those that serve, also if
	// they terminate and others are ready.
	usable, serving map[string]bool
}

// History may be used concurrently. The zero value is empty.
type History struct {
	mu       sync.Mutex
	slices   map[Key]map[string][]Endpoint // by the EndpointSlice's name
	versions map[Key][]version             // in the order of time
	ends     map[string]time.Time          // by Pod
}

// Slice notes the endpoints of an EndpointSlice; none means that there are none, or no such
// slice any more.
func (h *History) Slice(at time.Time, key Key, name string, endpoints []Endpoint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slices == nil {
		h.slices, h.versions = map[Key]map[string][]Endpoint{}, map[Key][]version{}
	}
	if h.slices[key] == nil {
		h.slices[key] = map[string][]Endpoint{}
	}
	h.slices[key][name] = endpoints
	next := newVersion(at, slices.Concat(slices.Collect(maps.Values(h.slices[key]))...))
	if all := h.versions[key]; len(all) == 0 || !next.same(all[len(all)-1]) {
		h.versions[key] = append(all, next)
	}
}

// newVersion decides as Kubernetes does: the ready endpoints, or those that still serve while
// they terminate if none is ready.
func newVersion(from time.Time, endpoints []Endpoint) version {
	ready, serving := map[string]bool{}, map[string]bool{}
	for _, e := range endpoints {
		if e.Ready {
			ready[e.Pod] = true
		}
		if e.Ready || e.Serving && e.Terminating {
			serving[e.Pod] = true
		}
	}
	if len(ready) == 0 {
		return version{from, serving, serving}
	}
	return version{from, ready, serving}
}

func (v version) same(other version) bool {
	return maps.Equal(v.usable, other.usable) && maps.Equal(v.serving, other.serving)
}

// PodEnds notes when a deleted Pod ends at the earliest.
func (h *History) PodEnds(pod string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ends == nil {
		h.ends = map[string]time.Time{}
	}
	if old, ok := h.ends[pod]; !ok || at.Before(old) {
		h.ends[pod] = at
	}
}

// Ended reports whether a Pod may have ended by a time.
func (h *History) Ended(pod string, at time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	end, ok := h.ends[pod]
	return ok && !end.After(at)
}

// Usable reports whether a Pod was an endpoint of a Service at some time of an interval.
func (h *History) Usable(key Key, pod string, from, to time.Time) bool {
	return slices.ContainsFunc(h.during(key, from, to), func(v version) bool { return v.usable[pod] })
}

// Serving reports whether a Pod served a Service at some time of an interval: flows that it had
// when it began to terminate stay.
func (h *History) Serving(key Key, pod string, from, to time.Time) bool {
	return slices.ContainsFunc(h.during(key, from, to), func(v version) bool { return v.serving[pod] })
}

// Empty reports whether a Service had no endpoint at some time of an interval.
func (h *History) Empty(key Key, from, to time.Time) bool {
	all := h.during(key, from, to)
	return len(all) == 0 || slices.ContainsFunc(all, func(v version) bool { return len(v.usable) == 0 })
}

// during returns the versions of an interval: the last one that began before it, and all
// that began in it.
func (h *History) during(key Key, from, to time.Time) []version {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.versions[key]
	first := max(0, after(all, from)-1)
	return all[first:max(first, after(all, to))]
}

// after is the index of the first version that began after a time.
func after(all []version, at time.Time) int {
	i, _ := slices.BinarySearchFunc(all, at, func(v version, at time.Time) int {
		if v.from.After(at) {
			return 1
		}
		return -1
	})
	return i
}

// Event is something that happened.
type Event struct {
	At   time.Time
	Text string
}

// Events returns the changes of a Service's endpoints in an interval, and what it had before.
func (h *History) Events(key Key, from, to time.Time) []Event {
	var events []Event
	for _, v := range h.during(key, from, to) {
		pods := strings.Join(slices.Sorted(maps.Keys(v.usable)), ", ")
		events = append(events, Event{v.from, fmt.Sprintf("%s %s: endpoints %s", key.Service, key.Family, cmp.Or(pods, "none"))})
	}
	return events
}
