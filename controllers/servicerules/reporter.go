// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/rules/compile"
)

// Reasons of the events on Services.
const (
	// ReasonEndpointSkipped is used when an endpoint or port of an
	// EndpointSlice was left out.
	ReasonEndpointSkipped = "EndpointSkipped"

	// ReasonFieldSkipped is used when an address, port or range of the Service
	// itself was left out.
	ReasonFieldSkipped = "FieldSkipped"

	// ReasonAddressConflict is used when another Service gets the traffic to an
	// address and port of this one.
	ReasonAddressConflict = "AddressConflict"

	// ReasonRulesNotWritten is used when the apiserver did not take the rules.
	// It is tried again, and the nodes keep the rules they have.
	ReasonRulesNotWritten = "RulesNotWritten"
)

// maxNote is the limit of the events API for a note.
const maxNote = 1024

// reporter turns problems into events, each once while it lasts.
type reporter struct {
	recorder events.EventRecorder

	mu       sync.Mutex
	reported map[types.NamespacedName]sets.Set[compile.Problem]
	// conflicting are the conflicts that were found last at a Service.
	conflicting map[types.NamespacedName]sets.Set[conflict]
}

func newReporter(recorder events.EventRecorder) *reporter {
	return &reporter{recorder: recorder, reported: map[types.NamespacedName]sets.Set[compile.Problem]{},
		conflicting: map[types.NamespacedName]sets.Set[conflict]{}}
}

// report records the problems of a Service that were not there last time.
func (r *reporter) report(svc *corev1.Service, problems []compile.Problem) {
	key := client.ObjectKeyFromObject(svc)
	now := sets.New(problems...)
	r.mu.Lock()
	before := r.reported[key]
	if len(now) == 0 {
		delete(r.reported, key)
	} else {
		r.reported[key] = now
	}
	r.mu.Unlock()
	// The events API takes events of the same objects and reason for
	// repetitions of the first, whatever they say: so there is one for each
	// object, which says everything.
	var objects []string
	messages := map[string][]string{}
	for _, p := range problems {
		if before.Has(p) {
			continue
		}
		if messages[p.Object] == nil {
			objects = append(objects, p.Object)
		}
		messages[p.Object] = append(messages[p.Object], p.Message)
	}
	for _, object := range objects {
		note := truncate(object + ": " + strings.Join(messages[object], "; "))
		if slice, ok := strings.CutPrefix(object, "EndpointSlice "); ok {
			r.recorder.Eventf(svc, endpointSliceRef(slice), corev1.EventTypeWarning, ReasonEndpointSkipped, "CompileRules", "%s", note)
		} else {
			r.recorder.Eventf(svc, nil, corev1.EventTypeWarning, ReasonFieldSkipped, "CompileRules", "%s", note)
		}
	}
}

// conflicts records those conflicts of a Service that were not there last time.
// Both Services find one; the events API takes it for a repetition.
func (r *reporter) conflicts(service types.NamespacedName, found []conflict) {
	r.mu.Lock()
	before := r.conflicting[service]
	if len(found) == 0 {
		delete(r.conflicting, service)
	} else {
		r.conflicting[service] = sets.New(found...)
	}
	r.mu.Unlock()
	for _, c := range found {
		if !before.Has(c) {
			r.recorder.Eventf(&c.loser, &c.winner, corev1.EventTypeWarning, ReasonAddressConflict, "CompileRules", "%s", truncate(c.note))
		}
	}
}

// endpointSliceRef refers to the EndpointSlice namespace/name.
func endpointSliceRef(slice string) *corev1.ObjectReference {
	namespace, name, _ := strings.Cut(slice, "/")
	return &corev1.ObjectReference{
		APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice", Namespace: namespace, Name: name,
	}
}

// failed records that the rules of a Service could not be written. The events
// API counts repetitions.
func (r *reporter) failed(svc *corev1.Service, err error) {
	r.recorder.Eventf(svc, nil, corev1.EventTypeWarning, ReasonRulesNotWritten, "WriteRules", "%s",
		truncate(err.Error()+"; it is tried again, and the nodes keep the rules they have"))
}

// forget drops what is known about a Service that is gone.
func (r *reporter) forget(service types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.reported, service)
	delete(r.conflicting, service)
}

func truncate(note string) string {
	if len(note) <= maxNote {
		return note
	}
	return strings.ToValidUTF8(note[:maxNote-3], "") + "..."
}
