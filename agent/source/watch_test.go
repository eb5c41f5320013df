// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

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
	for deadline := time.Now().Add(10 * time.Second); open.Load() != 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d watches are open, want 1", open.Load())
		}
	}
}
