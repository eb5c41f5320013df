// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/events"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

// Actions of the events: what the controller did.
const (
	actionCompile = "CompileRules"
	actionWrite   = "WriteRules"
)

// maxNote is the limit of the events API for a note, in bytes.
const maxNote = 1024

// recordProblems records the problems of a Service that are new since the last time.
func (s *state) recordProblems(recorder events.EventRecorder, svc *corev1.Service, problems []compile.Problem) {
	before := s.problems
	s.problems = sets.New(problems...)
	// The events API treats events with the same objects and reason as repetitions
	// of the first one, whatever their note: so there is one event for each object,
	// with all messages.
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
			recorder.Eventf(svc, endpointSliceRef(slice), corev1.EventTypeWarning, v1alpha1.EventEndpointSkipped, actionCompile, "%s", note)
		} else {
			recorder.Eventf(svc, nil, corev1.EventTypeWarning, v1alpha1.EventFieldSkipped, actionCompile, "%s", note)
		}
	}
}

// recordConflicts records the conflicts of a Service that are new since the last time.
// Both Services find a conflict; the events API treats the second as a repetition.
func (s *state) recordConflicts(recorder events.EventRecorder, found []conflict) {
	before := s.conflicts
	s.conflicts = sets.New(found...)
	for _, c := range found {
		if !before.Has(c) {
			recorder.Eventf(&c.loser, &c.winner, corev1.EventTypeWarning, v1alpha1.EventAddressConflict, actionCompile, "%s", truncate(c.note))
		}
	}
}

// recordFailure records that the rules of a Service could not be written. The
// events API counts repetitions.
func recordFailure(recorder events.EventRecorder, svc *corev1.Service, err error) {
	recorder.Eventf(svc, nil, corev1.EventTypeWarning, v1alpha1.EventRulesNotWritten, actionWrite, "%s",
		truncate(err.Error()+"; the controller retries, and the nodes keep the rules that they have"))
}

// recordForeign records what was done with a slice that the controller has not written, on
// its Service, or on the slice if there is no Service (svc is nil).
func recordForeign(recorder events.EventRecorder, svc *corev1.Service, f foreignSlice, done string) {
	const note = "ServiceRuleSlice %s was %s: %v. Only the controller writes ServiceRuleSlices"
	if svc == nil {
		recorder.Eventf(f.slice, nil, corev1.EventTypeWarning, v1alpha1.EventForeignSlice, actionWrite, note, f.slice.Name, done, f.reason)
		return
	}
	recorder.Eventf(svc, f.slice, corev1.EventTypeWarning, v1alpha1.EventForeignSlice, actionWrite, note, f.slice.Name, done, f.reason)
}

// endpointSliceRef refers to the EndpointSlice namespace/name.
func endpointSliceRef(slice string) *corev1.ObjectReference {
	namespace, name, _ := strings.Cut(slice, "/")
	return &corev1.ObjectReference{
		APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice", Namespace: namespace, Name: name,
	}
}

// truncate cuts a note to the limit of the events API.
func truncate(note string) string {
	if len(note) <= maxNote {
		return note
	}
	return strings.ToValidUTF8(note[:maxNote-3], "") + "..."
}
