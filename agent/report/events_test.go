// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// eventAPI is an apiserver that holds a slice, or none, and takes events.
func eventAPI(t *testing.T, slice *v1alpha1.ServiceRuleSlice) (*source.Client, *[]eventsv1.Event) {
	t.Helper()
	var created []eventsv1.Event
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var answer any
		switch {
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/v1alpha1/serviceruleslices/shop.web-v4-0"):
			if slice == nil {
				w.WriteHeader(http.StatusNotFound)
				answer = metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound}
				break
			}
			answer = slice
		case r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/apis/events.k8s.io/v1/namespaces/"):
			var e eventsv1.Event
			if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
				t.Error(err)
			}
			created = append(created, e)
			answer = e
		default:
			t.Errorf("unexpected %s %s", r.Method, r.URL)
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	client, err := source.NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client, &created
}

// TestServiceEvent writes an event about a Service, with the UID that its slice
// has in an annotation.
func TestServiceEvent(t *testing.T) {
	written := &v1alpha1.ServiceRuleSlice{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ServiceRuleSlice"},
		ObjectMeta: metav1.ObjectMeta{Name: "shop.web-v4-0", Annotations: map[string]string{v1alpha1.AnnotationServiceUID: "the-uid"}}}
	for name, tc := range map[string]struct {
		slice *v1alpha1.ServiceRuleSlice
		uid   types.UID
	}{
		"its slice is there": {written, "the-uid"},
		"it is gone":         {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, created := eventAPI(t, tc.slice)
			web := model.ServiceID{Namespace: "shop", Name: "web", Family: corev1.IPv4Protocol}
			if err := ServiceEvents(client, agenttest.TestNode)(t.Context(), web, "the port cannot be opened"); err != nil {
				t.Fatal(err)
			}
			if len(*created) != 1 {
				t.Fatalf("got %d events", len(*created))
			}
			got := (*created)[0]
			want := corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "web", UID: tc.uid}
			if diff := cmp.Diff(want, got.Regarding); diff != "" || got.Namespace != "shop" {
				t.Errorf("regarding (-want +got), in %s:\n%s", got.Namespace, diff)
			}
			if !strings.HasPrefix(got.ReportingInstance, "fairlead-agent-") || got.ReportingInstance == "fairlead-agent-" || got.EventTime.IsZero() {
				t.Errorf("reported by %q at %v", got.ReportingInstance, got.EventTime)
			}
			got.ReportingInstance, got.EventTime, got.Regarding = "", metav1.MicroTime{}, corev1.ObjectReference{}
			whole := eventsv1.Event{
				TypeMeta:            metav1.TypeMeta{APIVersion: "events.k8s.io/v1", Kind: "Event"},
				ObjectMeta:          metav1.ObjectMeta{GenerateName: "web-", Namespace: "shop"},
				ReportingController: "fairlead-agent", Action: "Listen", Type: corev1.EventTypeWarning, Reason: v1alpha1.EventHealthCheckFailed,
				Note: "Node node-1: the port cannot be opened.",
			}
			if diff := cmp.Diff(whole, got); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
			if got.Reason != v1alpha1.EventHealthCheckFailed || got.Note != "Node node-1: the port cannot be opened." {
				t.Errorf("reason %s, note %q", got.Reason, got.Note)
			}
		})
	}
}

// TestNodeEvent writes an event about the NodeRuleSet, which has no namespace.
func TestNodeEvent(t *testing.T) {
	client, created := eventAPI(t, nil)
	if err := NodeEvents(client, agenttest.TestNode)(t.Context(), "the-uid", v1alpha1.EventRulesRepaired, "restored"); err != nil {
		t.Fatal(err)
	}
	if len(*created) != 1 {
		t.Fatalf("got %d events", len(*created))
	}
	got := (*created)[0]
	want := corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeRuleSet", Name: agenttest.TestNode, UID: "the-uid"}
	if diff := cmp.Diff(want, got.Regarding); diff != "" || got.Namespace != "default" || got.Note != "restored" {
		t.Errorf("in %s: %q (-want +got):\n%s", got.Namespace, got.Note, diff)
	}
}

// TestReturnEvents writes an event of each return, once it is in the status.
func TestReturnEvents(t *testing.T) {
	var notes []string
	r := NewWriter(
		func(context.Context, types.UID, v1alpha1.NodeRuleSetStatus) error { return nil },
		func(_ context.Context, uid types.UID, reason, note string) error {
			notes = append(notes, string(uid)+" "+reason+": "+note)
			return errors.New("refused")
		}, logr.Discard(), clocktesting.NewFakeClock(time.Unix(1000, 0)))
	back := errors.New("the node has returned to r-1")
	for i, s := range []struct {
		returns int64
		err     error
		want    int
	}{{0, nil, 0}, {1, nil, 0}, {1, back, 1}, {1, back, 1}, {1, nil, 1}, {2, back, 2}, {2, back, 2}} {
		o := good()
		o.Returns = s.returns
		r.Set(o.With(RevisionReverted, s.err))
		r.step(t.Context())
		if len(notes) != s.want {
			t.Errorf("step %d: %d events, want %d", i, len(notes), s.want)
		}
	}
	if want := string(good().Node.UID) + " RevisionReverted: the node has returned to r-1"; notes[0] != want {
		t.Errorf("event %q, want %q", notes[0], want)
	}
	// An earlier agent has returned, and has written the event.
	r.Set(good().With(RevisionReverted, back))
	if r.step(t.Context()); len(notes) != 2 {
		t.Errorf("%d events", len(notes))
	}
}

// TestHeldEvents writes one event when removals are held, and says in the status how many.
func TestHeldEvents(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	var notes []string
	var status v1alpha1.NodeRuleSetStatus
	r := NewWriter(
		func(_ context.Context, _ types.UID, s v1alpha1.NodeRuleSetStatus) error { status = s; return nil },
		func(_ context.Context, _ types.UID, reason, note string) error {
			notes = append(notes, reason+": "+note)
			return nil
		}, logr.Discard(), clk)
	held := errors.New("default/web: it exists")
	for i, s := range []struct {
		after time.Duration
		err   error
		want  int
	}{{0, nil, 0}, {time.Second, held, 1}, {time.Minute, held, 1}, {time.Minute, nil, 1}, {time.Minute, held, 2}, {time.Hour, held, 3}} {
		clk.Step(s.after)
		o := good()
		o.Held = source.Held{Slices: 3, Endpoints: 7, Err: s.err}
		r.Set(o.With(RemovalHeld, s.err))
		r.step(t.Context())
		if len(notes) != s.want {
			t.Errorf("step %d: %d events, want %d", i, len(notes), s.want)
		}
		var want *v1alpha1.HeldCounts
		if s.err != nil {
			want = &v1alpha1.HeldCounts{Slices: 3, Endpoints: 7}
		}
		if diff := cmp.Diff(want, status.Held); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
	want := "RemovalHeld: Rules of 3 ServiceRuleSlices with 7 endpoints are kept, although the slices are gone or lost most endpoints: default/web: it exists"
	if len(notes) > 0 && notes[0] != want {
		t.Errorf("got %q, want %q", notes[0], want)
	}
}
