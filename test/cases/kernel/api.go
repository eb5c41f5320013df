// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// api answers the proxy in place of an apiserver: lists and watches of a few kinds
// of objects. A real apiserver refuses the odd objects that some cases are about,
// and takes longer than all the rest; the end-to-end tests have one.
type api struct {
	listener net.Listener
	// patched is called with what the proxy writes about an object of a path.
	patched func(path string, body []byte)

	mu      sync.Mutex
	objects map[string]map[string]object // by path and name
	changes []change                     // all that ever were; their number is the resource version
	changed chan struct{}                // closed, and replaced, at a change
}

// object is an object of the API.
type object interface {
	metav1.Object
	runtime.Object
}

// change is a change of an object: made if old is nil, deleted if now is nil.
type change struct {
	path     string
	old, now object
}

type event struct {
	Type   string `json:"type"`
	Object any    `json:"object"`
}

// serveAPI answers at an address of the node's loopback.
func (n *Network) serveAPI(patched func(path string, body []byte)) (*api, error) {
	a := &api{patched: patched, objects: map[string]map[string]object{}, changed: make(chan struct{})}
	err := n.node.do(func() (err error) {
		a.listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(a.listener) }() // ends with the listener
	return a, nil
}

// writeKubeconfig writes a file that leads a client here.
func (a *api) writeKubeconfig(file string) error {
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: cases,
contexts: [{name: cases, context: {cluster: cases}}], clusters: [{name: cases, cluster: {server: "http://%s"}}]}`, a.listener.Addr())
	return os.WriteFile(file, []byte(text), 0o600)
}

// ServeHTTP answers a request of the proxy.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	collection, name := path[:strings.LastIndex(path, "/")+1], path[strings.LastIndex(path, "/")+1:]
	body := json.NewDecoder(r.Body)
	w.Header().Set("Content-Type", "application/json")
	a.mu.Lock()
	_, isCollection := a.objects[path]
	one := a.objects[strings.TrimSuffix(collection, "/")][name]
	a.mu.Unlock()
	switch {
	case r.Method == http.MethodPatch || r.Method == http.MethodPost:
		var text json.RawMessage
		if err := body.Decode(&text); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.patched(path, text)
		_, _ = w.Write(text)
	case one != nil:
		a.answer(w, one)
	case !isCollection:
		http.NotFound(w, r)
	case r.URL.Query().Get("watch") == "true" || r.URL.Query().Get("watch") == "1":
		a.watch(w, r, path)
	default:
		a.list(w, r, path)
	}
}

// answer sends an object. Who does not get it will ask again.
func (a *api) answer(w http.ResponseWriter, object any) { _ = json.NewEncoder(w).Encode(object) }

// selected returns the condition of a request's selectors.
func selected(r *http.Request) func(o object) bool {
	byLabel, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	byField, err2 := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	return func(o object) bool {
		if o == nil || err != nil || err2 != nil {
			return false
		}
		set := fields.Set{"metadata.name": o.GetName()}
		if svc, ok := o.(*corev1.Service); ok {
			set["spec.clusterIP"] = svc.Spec.ClusterIP
		}
		return byLabel.Matches(labels.Set(o.GetLabels())) && byField.Matches(set)
	}
}

func (a *api) list(w http.ResponseWriter, r *http.Request, path string) {
	wanted := selected(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	items := []object{}
	for _, o := range a.objects[path] {
		if wanted(o) {
			items = append(items, o)
		}
	}
	a.answer(w, map[string]any{
		"apiVersion": kindOf(path).GroupVersion().String(), "kind": kindOf(path).Kind + "List", "items": items,
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(len(a.changes))},
	})
}

// watch sends the changes of a collection from a version on. With sendInitialEvents
// it sends the objects that there are first, and a bookmark after them.
func (a *api) watch(w http.ResponseWriter, r *http.Request, path string) {
	next, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	encoder, flusher, wanted := json.NewEncoder(w), http.NewResponseController(w), selected(r)
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		var initial []event
		initial, next = a.initial(path, wanted)
		for _, e := range initial {
			if encoder.Encode(e) != nil {
				return
			}
		}
	}
	for {
		a.mu.Lock()
		more, changed := a.changes[next:], a.changed
		next = len(a.changes)
		a.mu.Unlock()
		for _, c := range more {
			if e, concerned := c.event(wanted); c.path == path && concerned && encoder.Encode(e) != nil {
				return
			}
		}
		if flusher.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

// event is a change as a watcher with a selector sees it: an object that is no longer
// selected is deleted.
func (c change) event(wanted func(object) bool) (event, bool) {
	before, after := c.old != nil && wanted(c.old), c.now != nil && wanted(c.now)
	switch {
	case before && after:
		return event{"MODIFIED", c.now}, true
	case after:
		return event{"ADDED", c.now}, true
	}
	return event{"DELETED", c.old}, before
}

func (a *api) initial(path string, wanted func(object) bool) ([]event, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []event
	for _, o := range a.objects[path] {
		if wanted(o) {
			all = append(all, event{"ADDED", o})
		}
	}
	version := len(a.changes)
	return append(all, event{"BOOKMARK", map[string]any{
		"apiVersion": kindOf(path).GroupVersion().String(), "kind": kindOf(path).Kind,
		"metadata": map[string]any{
			"resourceVersion": strconv.Itoa(version),
			"annotations":     map[string]string{metav1.InitialEventsAnnotationKey: "true"},
		},
	}}), version
}

// wake notifies waiting watchers of a change. The caller holds mu.
func (a *api) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// put stores an object; nil deletes it. The caller holds mu.
func (a *api) put(path, name string, o object) {
	c := change{path: path, old: a.objects[path][name], now: o}
	if o == nil {
		delete(a.objects[path], name)
	} else {
		o.GetObjectKind().SetGroupVersionKind(kindOf(path))
		o.SetResourceVersion(strconv.Itoa(len(a.changes) + 1))
		a.objects[path][name] = o
	}
	a.changes = append(a.changes, c)
	a.wake()
}

// replace replaces the objects of a path: first it deletes, then it adds and changes in
// the order of their names. Objects must not be changed after that.
func replace[T object](a *api, path string, wanted map[string]T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.objects[path] == nil {
		a.objects[path] = map[string]object{}
	}
	for name := range a.objects[path] {
		if _, stays := wanted[name]; !stays {
			a.put(path, name, nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		o, old := wanted[name], a.objects[path][name]
		if old != nil {
			o.GetObjectKind().SetGroupVersionKind(kindOf(path))
			o.SetResourceVersion(old.GetResourceVersion())
			if reflect.DeepEqual(old, object(o)) {
				continue
			}
		}
		a.put(path, name, o)
	}
}

// kindOf is the kind of the objects of a path.
func kindOf(path string) schema.GroupVersionKind {
	kinds := map[string]schema.GroupVersionKind{
		nodeRuleSets:   {Group: "proxy.fairlead.dev", Version: "v1alpha1", Kind: "NodeRuleSet"},
		ruleSlices:     {Group: "proxy.fairlead.dev", Version: "v1alpha1", Kind: "ServiceRuleSlice"},
		nodes:          {Version: "v1", Kind: "Node"},
		services:       {Version: "v1", Kind: "Service"},
		endpointSlices: {Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
		serviceCIDRs:   {Group: "networking.k8s.io", Version: "v1", Kind: "ServiceCIDR"},
	}
	return kinds[path]
}

// The paths of the collections.
const (
	nodeRuleSets   = "/apis/proxy.fairlead.dev/v1alpha1/noderulesets"
	ruleSlices     = "/apis/proxy.fairlead.dev/v1alpha1/serviceruleslices"
	nodes          = "/api/v1/nodes"
	services       = "/api/v1/services"
	endpointSlices = "/apis/discovery.k8s.io/v1/endpointslices"
	serviceCIDRs   = "/apis/networking.k8s.io/v1/servicecidrs"
)
