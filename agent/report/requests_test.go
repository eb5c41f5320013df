// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// answering is a client of an apiserver that answers all requests with a code, and gives the last to see.
func answering(t *testing.T, code int, see func(r *http.Request, body []byte)) *source.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		see(r, body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d}`, code)
	}))
	t.Cleanup(server.Close)
	client, err := source.NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestRequests checks what the agent writes about its node: the status of one object and no other,
// and a heartbeat that goes with it.
func TestRequests(t *testing.T) {
	const group = "proxy.fairlead.dev/v1alpha1"
	at := time.Unix(1000, 0).UTC()
	for name, c := range map[string]struct {
		do         func(context.Context, *source.Client) error
		path, body string
	}{
		"status": {func(ctx context.Context, client *source.Client) error {
			return NodeStatus(client, "node-1")(ctx, "the-uid", v1alpha1.NodeRuleSetStatus{Mode: v1alpha1.ModeIPVS})
		}, "noderulesets/node-1/status",
			`{"apiVersion":"` + group + `","kind":"NodeRuleSet","metadata":{"name":"node-1","uid":"the-uid"},"status":{"mode":"IPVS"}}`},
		"heartbeat": {func(ctx context.Context, client *source.Client) error {
			return NodeHeartbeats(client, "node-1")(ctx, "the-uid", at)
		}, "nodeheartbeats/node-1",
			`{"apiVersion":"` + group + `","kind":"NodeHeartbeat","metadata":{"name":"node-1","ownerReferences":[
				{"apiVersion":"` + group + `","kind":"NodeRuleSet","name":"node-1","uid":"the-uid"}]},"spec":{"renewTime":"1970-01-01T00:16:40Z"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			client := answering(t, http.StatusOK, func(r *http.Request, body []byte) {
				requests++
				if got, want := r.Method+" "+r.URL.Path, "PATCH /apis/"+group+"/"+c.path; got != want {
					t.Errorf("%s, want %s", got, want)
				}
				want := map[string][]string{"fieldManager": {"fairlead-agent"}, "force": {"true"}}
				if diff := cmp.Diff(want, map[string][]string(r.URL.Query())); diff != "" || r.Header.Get("Content-Type") != "application/apply-patch+yaml" {
					t.Errorf("a patch of type %s with (-want +got):\n%s", r.Header.Get("Content-Type"), diff)
				}
				if diff := cmp.Diff(decoded(t, []byte(c.body)), decoded(t, body)); diff != "" {
					t.Errorf("body (-want +got):\n%s", diff)
				}
			})
			if err := c.do(t.Context(), client); err != nil || requests != 1 {
				t.Errorf("%d requests, error %v", requests, err)
			}
		})
	}
}

func decoded(t *testing.T, text []byte) (out map[string]any) {
	t.Helper()
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// TestRefusals checks which refusals are errors: not that of a status whose object is gone or was replaced.
func TestRefusals(t *testing.T) {
	service := model.ServiceID{Namespace: "shop", Name: "web", Family: corev1.IPv4Protocol}
	for code, want := range map[int][4]bool{ // status, heartbeat, event of the node, event of a Service
		http.StatusOK:                  {false, false, false, false},
		http.StatusForbidden:           {true, true, true, true},
		http.StatusNotFound:            {false, true, true, true},
		http.StatusConflict:            {false, true, true, true},
		http.StatusUnprocessableEntity: {true, true, true, true},
	} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			posts := 0
			client := answering(t, code, func(r *http.Request, _ []byte) {
				if r.Method == http.MethodPost {
					posts++
				}
			})
			ctx := t.Context()
			got := [4]bool{
				NodeStatus(client, "node-1")(ctx, "uid", v1alpha1.NodeRuleSetStatus{}) != nil,
				NodeHeartbeats(client, "node-1")(ctx, "uid", metav1.Now().Time) != nil,
				NodeEvents(client, "node-1")(ctx, "uid", "Reason", "note") != nil,
				code != http.StatusOK && ServiceEvents(client, "node-1")(ctx, service, "note") != nil,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if code != http.StatusOK && posts != 2 {
				t.Errorf("%d events are created, want 2: an event does not need the UID of its Service", posts)
			}
		})
	}
}
