// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What follows is for who owns the cluster, and for faults.

// Put creates or replaces an object in the name of a client.
func (s *Server) Put(client, resource string, object metav1.Object) {
	text, err := json.Marshal(object)
	if err != nil {
		panic(fmt.Sprintf("encode %s: %v", resource, err))
	}
	o, err := decode(text)
	if err != nil {
		panic(fmt.Sprintf("decode %s: %v", resource, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resources[resource]
	if r.gone {
		return
	}
	s.prune(r, o)
	old := r.objects[o.key()]
	if old != nil {
		o.Meta.UID, o.Meta.CreationTimestamp, o.Meta.Generation = old.Meta.UID, old.Meta.CreationTimestamp, old.Meta.Generation
	}
	s.store(client, r, old, o)
}

// Apply applies an object in the name of a field manager.
func (s *Server) Apply(manager, resource string, object any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	intent, err := decode(text)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resources[resource]
	if r.gone {
		return asError(notFound(r, intent.Meta.Name))
	}
	_, status := s.apply(manager, r, intent.key(), patch{intent: intent, manager: manager})
	return asError(status)
}

// Remove deletes an object, if it is there.
func (s *Server) Remove(client, resource, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resources[resource]
	if old := r.objects[key]; old != nil {
		s.remove(client, r, old)
	}
}

// Objects returns the objects of a resource, sorted by their keys.
func (s *Server) Objects(resource string) []*Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resources[resource].sorted()
}

// Get returns an object; nil: it does not exist.
func (s *Server) Get(resource, key string) *Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resources[resource].objects[key]
}

func (r *resource) sorted() []*Object {
	return slices.SortedFunc(maps.Values(r.objects), func(a, b *Object) int { return strings.Compare(a.key(), b.key()) })
}

// Undefine deletes the custom resource definition of a resource, and with it all objects.
// Watches see them go and end.
func (s *Server) Undefine(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resources[resource]
	if r.gone {
		return
	}
	for _, o := range r.sorted() {
		s.remove("apiserver", r, o)
	}
	r.gone = true
	for w := range s.watches {
		if w.resource == r {
			w.end = true
		}
	}
	s.wake()
}

// Define creates the custom resource definition again.
func (s *Server) Define(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources[resource].gone = false
}

// Prune sets the fields of the spec that the schema of a resource does not have. Watches
// end, as with any change of the schema; what is stored stays.
func (s *Server) Prune(resource string, fields ...string) {
	s.mu.Lock()
	s.pruned[resource] = fields
	s.mu.Unlock()
	s.Cut(func(_, r string) bool { return r == resource })
}

// Compact forgets the history: a watch that ends cannot resume.
func (s *Server) Compact() {
	s.mu.Lock()
	for _, r := range s.resources {
		r.log, r.compacted = nil, s.version
	}
	s.mu.Unlock()
	s.Cut(func(string, string) bool { return true })
}

// Cut ends watches.
func (s *Server) Cut(which func(client, resource string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		if which(w.client, w.resource.Resource) {
			w.cut = true
		}
	}
	s.wake()
}

// Backup is what a backup contains.
type Backup struct {
	objects map[string]map[string]*Object
	gone    map[string]bool
}

// Backup makes one.
func (s *Server) Backup() *Backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &Backup{objects: map[string]map[string]*Object{}, gone: map[string]bool{}}
	for name, r := range s.resources {
		b.objects[name], b.gone[name] = maps.Clone(r.objects), r.gone
	}
	return b
}

// Restore goes back to a backup. UIDs and generations may be used again, resource versions
// are not; see restoredJump.
func (s *Server) Restore(b *Backup) {
	s.mu.Lock()
	s.version += restoredJump
	for name, r := range s.resources {
		r.objects, r.gone = maps.Clone(b.objects[name]), b.gone[name]
		r.log, r.compacted = nil, s.version
	}
	s.mu.Unlock()
	s.Cut(func(string, string) bool { return true })
}
