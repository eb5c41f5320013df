// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// refusing is a store that refuses some lists.
type refusing struct {
	cache.ReflectorStore
	left  atomic.Int32
	taken chan struct{}
}

func (r *refusing) Replace([]any, string) error {
	if r.left.Add(-1) >= 0 {
		return errors.New("refused")
	}
	close(r.taken)
	return nil
}

// TestRefusedListsLeaveNoWatch checks that the watch by which a list was read ends if the list
// is refused: else an agent that waits for the controller has more and more of them.
func TestRefusedListsLeaveNoWatch(t *testing.T) {
	var open atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sendInitialEvents") != "true" {
			http.Error(w, "only lists by watch", http.StatusBadRequest)
			return
		}
		open.Add(1)
		defer open.Add(-1)
		w.Header().Set("Content-Type", "application/json")
		// More than one event: a watch that is not stopped waits with the next one.
		for range 2 {
			fmt.Fprintf(w, `{"type":"BOOKMARK","object":{"apiVersion":%q,"kind":"ServiceRuleSlice","metadata":{"resourceVersion":"1","annotations":{%q:"true"}}}}`+"\n",
				v1alpha1.GroupVersion, metav1.InitialEventsAnnotationKey)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	}))
	defer server.Close()
	client, err := NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	store := &refusing{ReflectorStore: cache.NewStore(cache.MetaNamespaceKeyFunc), taken: make(chan struct{})}
	store.left.Store(2)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		mirror(ctx, client, "serviceruleslices", fields.Everything(), &v1alpha1.ServiceRuleSlice{}, store, func(string, error) {})
	})
	select {
	case <-store.taken:
	case <-time.After(time.Minute):
		t.Fatal("no list is taken")
	}
	for deadline := time.Now().Add(time.Minute); open.Load() != 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d watches are open, want 1", open.Load())
		}
	}
}

// TestRequests checks what a mirror asks the apiserver for, and which answers it reports as
// failures: not that a list is too old to go on from, which happens all the time.
func TestRequests(t *testing.T) {
	kind := func(kind, resourceVersion string) string {
		return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"resourceVersion":%q}}`, v1alpha1.GroupVersion, kind, resourceVersion)
	}
	status := func(code int, reason metav1.StatusReason) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Status","status":"Failure","code":%d,"reason":%q}`, code, reason)
	}
	type answer struct {
		watch bool // what it answers
		code  int
		body  string
	}
	answers := []answer{
		{false, 403, status(403, metav1.StatusReasonForbidden)},
		{false, 200, kind("NodeRuleSetList", "1")},
		{true, 410, status(410, metav1.StatusReasonExpired)},
		{false, 200, kind("NodeRuleSetList", "2")},
		{true, 410, status(410, metav1.StatusReasonGone)},
		{false, 200, kind("NodeRuleSetList", "3")},
		{true, 403, status(403, metav1.StatusReasonForbidden)},
	}
	var mu sync.Mutex
	var got, failures []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		q := r.URL.Query()
		watch := q.Get("watch") != ""
		if r.URL.Path != "/apis/"+v1alpha1.GroupVersion.String()+"/noderulesets" || q.Get("fieldSelector") != "metadata.name=node-1" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		if q.Get("sendInitialEvents") != "" { // it does not know lists by watch
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(status(400, metav1.StatusReasonBadRequest)))
			return
		}
		for i, a := range answers {
			if a.watch == watch {
				answers = append(answers[:i:i], answers[i+1:]...)
				got = append(got, fmt.Sprint(map[bool]string{true: "watch ", false: "list "}[watch], a.code))
				w.WriteHeader(a.code)
				_, _ = w.Write([]byte(a.body))
				return
			}
		}
		cancel()
	}))
	defer server.Close()
	client, err := NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	failed := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil && !apierrors.IsBadRequest(err) {
			failures = append(failures, fmt.Sprint(what, " ", apierrors.ReasonForError(err)))
		}
	}
	mirror(ctx, client, "noderulesets", fields.OneTermEqualSelector(metav1.ObjectNameField, "node-1"), &v1alpha1.NodeRuleSet{},
		cache.NewStore(cache.MetaNamespaceKeyFunc), failed)
	if diff := cmp.Diff([]string{"list 403", "list 200", "watch 410", "list 200", "watch 410", "list 200", "watch 403"}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"noderulesets Forbidden", "noderulesets ", "noderulesets ", "noderulesets ", "noderulesets Forbidden"}, failures); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

// TestWatch checks that both kinds are watched, that the node's is only its own, and that what is
// deleted is looked for and released.
func TestWatch(t *testing.T) {
	node := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "uid", Generation: 7}, Spec: agenttest.NodeSpec()}
	web, kubernetes := agenttest.Slice(whole("web", 1, 1)), agenttest.Slice(whole("kubernetes", 2, 2))
	var lost atomic.Bool
	events := func(w http.ResponseWriter, kind string, event string, objects ...any) {
		for _, o := range objects {
			text, err := json.Marshal(o)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, `{"type":%q,"object":{"apiVersion":%q,"kind":%q,%s}`+"\n", event, v1alpha1.GroupVersion, kind, text[1:])
		}
		_ = http.NewResponseController(w).Flush() // the client may be gone
	}
	end := map[string]any{"metadata": map[string]any{"resourceVersion": "1", "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
	mux := http.NewServeMux()
	watched := func(resource, kind, selector string, then func(http.ResponseWriter), objects ...any) {
		mux.HandleFunc("GET /apis/"+v1alpha1.GroupVersion.String()+"/"+resource, func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("fieldSelector"); got != selector {
				t.Errorf("%s: selected by %q", resource, got)
			}
			w.Header().Set("Content-Type", "application/json")
			events(w, kind, "ADDED", objects...)
			events(w, kind, "BOOKMARK", end)
			then(w)
			<-r.Context().Done()
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in := NewStore(time.Now)
	watched("noderulesets", "NodeRuleSet", "metadata.name=node-1", func(http.ResponseWriter) {}, node)
	watched("serviceruleslices", "ServiceRuleSlice", "", func(w http.ResponseWriter) {
		for in.empty() && ctx.Err() == nil { // the list is not taken yet
			time.Sleep(time.Millisecond)
		}
		lost.Store(true)
		events(w, "ServiceRuleSlice", "DELETED", web)
	}, web, kubernetes)
	mux.HandleFunc("GET /api/v1/namespaces/default/services/kubernetes", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"metadata":{"namespace":"default","name":"kubernetes"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":443}]}}`))
	})
	mux.HandleFunc("GET /apis/discovery.k8s.io/v1/namespaces/default/endpointslices", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"items":[]}`))
	})
	mux.HandleFunc("GET /api/v1/namespaces/default/services/web", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","details":{"name":"web","kind":"services"},"code":404}`))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer cancel()
	client, err := NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	var shown atomic.Int32
	Watch(logr.NewContext(ctx, logr.Discard()), client, "node-1", in,
		func(uid types.UID, _ v1alpha1.NodeRuleSetStatus) {
			if uid == "uid" {
				shown.Add(1)
			}
		}, func(string, error) {})
	deadline := time.After(time.Minute)
	for {
		select {
		case <-in.Wakeup:
		case <-deadline:
			t.Fatalf("shown %d times, lost %v, held %+v", shown.Load(), lost.Load(), in.Held())
		}
		got, specs := in.Snapshot()
		if !lost.Load() || got == nil || specs[web.Name] != nil || shown.Load() == 0 || in.Waiting().IsZero() {
			continue
		}
		if got.UID != "uid" || got.Generation != 7 || len(specs) != 1 || in.Unselected() {
			t.Errorf("taken: %+v and %d slices", got, len(specs))
		}
		return
	}
}
