// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver is an apiserver in memory, for the simulation: it answers the requests
// of client-go without a network, by an http.RoundTripper. It has what the clients of this
// project can see: resource versions, watches with bookmarks, lists by watch, compaction
// (410), optimistic locking, server-side apply with managedFields, status subresources,
// custom resources that come and go, a schema that prunes, and a restore from a backup.
//
// It leaves out what they do not use: paging, conversion, defaults, validation, finalizers,
// garbage collection. The spec of every object is atomic in server-side apply, as in this
// project's API; only labels and annotations are merged by their keys.
package apiserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxLog is how many changes of a resource a watch can be behind.
const maxLog = 2000

// restoredJump is how far resource versions jump with a restore, as with etcdutl snapshot
// restore --bump-revision. Without it, clients could not see that history has changed.
const restoredJump = 1_000_000

// Server is the apiserver with its storage.
type Server struct {
	mu        sync.Mutex
	version   uint64
	uids      uint64
	resources map[string]*resource
	changed   chan struct{} // closed with the next change of any object
	watches   map[*watch]struct{}
	pruned    map[string][]string // fields of the spec that the schema does not have, by resource

	// Written, if set, is called with each object that a client has written, while the
	// server is locked. old is nil for a new object, object for a deleted one.
	Written func(client, resource string, old, object *Object)

	// Listed, if set, is called with what a client lists, or gets at the begin of a watch,
	// while the server is locked.
	Listed func(client, resource string, objects []*Object)

	// Admit, if set, is called with each request that is sent, but those for events. It says how long the
	// request takes, and whether it is not done and fails then.
	Admit func(client, method, path string) (pause time.Duration, refused bool)
}

// resource is a kind of objects.
type resource struct {
	Kind
	gone      bool // the custom resource definition is deleted
	objects   map[string]*Object
	log       []change
	compacted uint64 // a watch cannot begin before this version
}

// change is an entry of the log.
type change struct {
	version  uint64
	old, now *Object // nil: it did not exist; it is deleted
}

// Kind describes a resource.
type Kind struct {
	Resource, APIVersion, Kind string
	Namespaced                 bool
}

// Object is a stored object. It is never changed.
type Object struct {
	Meta   metav1.ObjectMeta
	Fields map[string]json.RawMessage // spec, status, ...; not apiVersion, kind, metadata

	encoded []byte
}

// Decode decodes an object.
func (o *Object) Decode(into any) error { return json.Unmarshal(o.encoded, into) }

// String names an object and its version.
func (o *Object) String() string {
	if o == nil {
		return "none"
	}
	return o.key() + "@" + o.Meta.ResourceVersion
}

func (o *Object) key() string { return key(o.Meta.Namespace, o.Meta.Name) }

func key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// New returns a server of some kinds.
func New(kinds ...Kind) *Server {
	s := &Server{version: 1, resources: map[string]*resource{}, changed: make(chan struct{}),
		watches: map[*watch]struct{}{}, pruned: map[string][]string{}}
	for _, k := range kinds {
		s.resources[k.Resource] = &resource{Kind: k, objects: map[string]*Object{}}
	}
	return s
}

// store replaces an object by a change of it and returns what is stored. The caller holds mu.
func (s *Server) store(client string, r *resource, old, now *Object) *Object {
	s.version++
	stored := *now
	stored.Meta.ResourceVersion = strconv.FormatUint(s.version, 10)
	if old == nil {
		s.uids++
		stored.Meta.UID = types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", s.uids))
		stored.Meta.CreationTimestamp = metav1.NewTime(time.Now().Truncate(time.Second))
		stored.Meta.Generation = 1
	} else if string(old.Fields["spec"]) != string(now.Fields["spec"]) {
		stored.Meta.Generation++
	}
	stored.encoded = r.encode(&stored)
	r.objects[stored.key()] = &stored
	s.append(client, r, change{version: s.version, old: old, now: &stored})
	return &stored
}

// remove deletes an object. The caller holds mu.
func (s *Server) remove(client string, r *resource, old *Object) {
	s.version++
	delete(r.objects, old.key())
	s.append(client, r, change{version: s.version, old: old})
}

func (s *Server) append(client string, r *resource, c change) {
	r.log = append(r.log, c)
	if len(r.log) > maxLog {
		r.log = slices.Clone(r.log[maxLog/2:])
		r.compacted = r.log[0].version - 1
	}
	if s.Written != nil {
		s.Written(client, r.Resource, c.old, c.now)
	}
	s.wake()
}

// wake lets all watches look.
func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// encode returns the JSON of an object. It panics only if a field is not JSON.
func (r *resource) encode(o *Object) []byte {
	all := map[string]any{"apiVersion": r.APIVersion, "kind": r.Kind.Kind, "metadata": &o.Meta}
	for name, value := range o.Fields {
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(fmt.Sprintf("encode a %s: %v", r.Kind.Kind, err))
	}
	return text
}

// decode reads an object that a client has sent.
func decode(text []byte) (*Object, error) {
	o := &Object{}
	if err := json.Unmarshal(text, &o.Fields); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(o.Fields["metadata"], &o.Meta); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	maps.DeleteFunc(o.Fields, func(name string, _ json.RawMessage) bool {
		return name == "metadata" || name == "apiVersion" || name == "kind"
	})
	return o, nil
}

// prune removes the fields that the schema does not have.
func (s *Server) prune(r *resource, o *Object) {
	fields := s.pruned[r.Resource]
	if len(fields) == 0 || len(o.Fields["spec"]) == 0 {
		return
	}
	o.Fields = maps.Clone(o.Fields)
	o.Fields["spec"] = without(o.Fields["spec"], fields)
}

// without returns the JSON of an object without some fields.
func without(object json.RawMessage, fields []string) json.RawMessage {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return object
	}
	for _, name := range fields {
		delete(all, name)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return object
	}
	return text
}
