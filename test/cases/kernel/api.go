// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// api answers the agent in place of an apiserver: two lists, two watches, and the
// status that comes back. A real apiserver refuses the odd objects that some cases
// are about, and takes longer than all the rest; the end-to-end tests have one.
type api struct {
	mu      sync.Mutex
	objects map[string]map[string]any // by resource and name
	events  []event                   // all that ever happened; its length is the resource version
	changed chan struct{}             // closed, and replaced, at a change
	node    v1alpha1.NodeRuleSet
	status  v1alpha1.NodeRuleSetStatus
}

type event struct {
	resource, name string
	Type           string `json:"type"`
	Object         any    `json:"object"`
}

const (
	nodeRuleSets = "noderulesets"
	ruleSlices   = "serviceruleslices"
)

var kinds = map[string]string{nodeRuleSets: "NodeRuleSet", ruleSlices: "ServiceRuleSlice"}

func newAPI() *api {
	return &api{
		objects: map[string]map[string]any{nodeRuleSets: {}, ruleSlices: {}},
		changed: make(chan struct{}),
	}
}

// serve answers in a network namespace until the listener is closed.
func (a *api) serve(l net.Listener) {
	server := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	_ = server.Serve(l) // ends with the listener
}

// ServeHTTP answers a request of the agent.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // apis GROUP VERSION RESOURCE [NAME status]
	query := r.URL.Query()
	switch {
	case len(path) < 4 || a.objects[path[3]] == nil:
		http.NotFound(w, r)
	case r.Method == http.MethodPatch:
		a.report(w, r)
	case query.Get("watch") == "true" || query.Get("watch") == "1":
		a.watch(w, r, path[3])
	default:
		a.list(w, path[3])
	}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

func (a *api) list(w http.ResponseWriter, resource string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	items := make([]any, 0, len(a.objects[resource]))
	for _, object := range a.objects[resource] {
		items = append(items, object)
	}
	w.Header().Set("Content-Type", "application/json")
	list := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kinds[resource] + "List", "items": items,
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(len(a.events))},
	}
	_ = json.NewEncoder(w).Encode(list) // who does not get it will ask again
}

// watch sends the events of a resource from a version on. With sendInitialEvents
// it sends the objects that there are first, and a bookmark after them.
func (a *api) watch(w http.ResponseWriter, r *http.Request, resource string) {
	next, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	encoder, flusher := json.NewEncoder(w), http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for _, e := range a.initial(resource, &next) {
			if encoder.Encode(e) != nil {
				return
			}
		}
	}
	for {
		a.mu.Lock()
		more, changed := a.events[next:], a.changed
		next = len(a.events)
		a.mu.Unlock()
		for _, e := range more {
			if e.resource == resource && encoder.Encode(e) != nil {
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

func (a *api) initial(resource string, next *int) []event {
	a.mu.Lock()
	defer a.mu.Unlock()
	*next = len(a.events)
	var all []event
	for _, object := range a.objects[resource] {
		all = append(all, event{Type: "ADDED", Object: object})
	}
	mark := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kinds[resource],
		"metadata": map[string]any{
			"resourceVersion": strconv.Itoa(*next),
			"annotations":     map[string]string{metav1.InitialEventsAnnotationKey: "true"},
		},
	}
	return append(all, event{Type: "BOOKMARK", Object: mark})
}

// report takes the status that the agent writes.
func (a *api) report(w http.ResponseWriter, r *http.Request) {
	var body v1alpha1.NodeRuleSet
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	a.status = body.Status
	answer := a.node
	answer.Status = body.Status
	a.wake()
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// wake tells who waits that something has changed. The caller holds mu.
func (a *api) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// put stores an object and tells the watches; nil deletes it. The caller holds mu.
func (a *api) put(resource, name string, object any) {
	e := event{resource: resource, name: name, Type: "ADDED", Object: object}
	old, known := a.objects[resource][name]
	switch {
	case object == nil:
		delete(a.objects[resource], name)
		e.Type, e.Object = "DELETED", old
	case known:
		e.Type = "MODIFIED"
		fallthrough
	default:
		a.objects[resource][name] = object
	}
	a.events = append(a.events, e)
	a.wake()
}

// version is the resource version of the next object. The caller holds mu.
func (a *api) version() string { return strconv.Itoa(len(a.events) + 1) }

// setSlices makes the slices what the controller would write.
func (a *api) setSlices(want map[string]v1alpha1.ServiceRuleSliceSpec) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.objects[ruleSlices] {
		if _, wanted := want[name]; !wanted {
			a.put(ruleSlices, name, nil)
		}
	}
	for name, spec := range want {
		old, _ := a.objects[ruleSlices][name].(*v1alpha1.ServiceRuleSlice)
		if old != nil && reflect.DeepEqual(old.Spec, spec) {
			continue
		}
		a.put(ruleSlices, name, &v1alpha1.ServiceRuleSlice{
			TypeMeta:   typeMeta("ServiceRuleSlice"),
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: a.version()},
			Spec:       spec,
		})
	}
}

// setNode writes the node's rules as a new generation, and returns its number.
func (a *api) setNode(c cases.Compiled) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.node = v1alpha1.NodeRuleSet{
		TypeMeta: typeMeta("NodeRuleSet"),
		ObjectMeta: metav1.ObjectMeta{
			Name: c.Node.Name, UID: "the-node", Generation: a.node.Generation + 1, ResourceVersion: a.version(),
		},
		Spec: c.Node.Spec,
	}
	a.put(nodeRuleSets, c.Node.Name, a.node.DeepCopy())
	return a.node.Generation
}

// reported waits until the agent has programmed a generation, and returns its report.
func (a *api) reported(generation int64, patience time.Duration) (v1alpha1.NodeRuleSetStatus, error) {
	deadline := time.After(patience)
	for {
		a.mu.Lock()
		status, changed := a.status, a.changed
		a.mu.Unlock()
		if status.ObservedGeneration == generation {
			return status, nil
		}
		select {
		case <-changed:
		case <-deadline:
			return status, fmt.Errorf("the agent has not programmed generation %d: %+v", generation, status)
		}
	}
}
