// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// apiserver is a fake that implements what an agent uses: it streams the objects
// and accepts the node's status. All events are encoded beforehand, so that it
// uses little of the time that is measured.
type apiserver struct {
	server   http.Server
	listener net.Listener
	closing  context.Context

	mu     sync.Mutex
	slices map[string][]byte // the latest event of each
	node   []byte

	changed  chan []byte                     // to the one watch of slices
	statuses chan v1alpha1.NodeRuleSetStatus // that the agent wrote
}

func startAPIServer(ctx context.Context, c cluster) (*apiserver, error) {
	a := &apiserver{slices: map[string][]byte{}, closing: ctx, changed: make(chan []byte), statuses: make(chan v1alpha1.NodeRuleSetStatus, 100)}
	spec := node()
	spec.Mode = cmp.Or(c.mode, spec.Mode)
	var err error
	if a.node, err = event("ADDED", &v1alpha1.NodeRuleSet{TypeMeta: typeMeta("NodeRuleSet"),
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, UID: "node", Generation: 1, ResourceVersion: "1"}, Spec: spec}); err != nil {
		return nil, err
	}
	for i := range c.services {
		slice, err := c.slice(i, 0)
		if err != nil {
			return nil, err
		}
		if _, err := a.put("ADDED", slice); err != nil {
			return nil, err
		}
	}
	const resources = "/apis/proxy.fairlead.dev/v1alpha1/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+resources+"serviceruleslices", a.watchSlices)
	mux.HandleFunc("GET "+resources+"noderulesets", a.watchNode)
	mux.HandleFunc("PATCH "+resources+"noderulesets/"+nodeName+"/status", a.takeStatus)
	mux.HandleFunc("PATCH "+resources+"nodeheartbeats/"+nodeName, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, r.Body) // an error means that the agent has ended
	})
	a.server.Handler = mux
	if a.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go func() { _ = a.server.Serve(a.listener) }() // ends with close
	return a, nil
}

func (a *apiserver) close() error { return a.server.Close() }

func (a *apiserver) url() string { return "http://" + a.listener.Addr().String() }

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

// put stores a slice in the form that the controller and the apiserver give it.
func (a *apiserver) put(kind string, s compile.Slice) ([]byte, error) {
	uid := types.UID("8d7b5ed7-9f6c-4b4f-9c0e-" + s.Spec.Digest[:12])
	created := metav1.NewTime(time.Unix(1_790_000_000, 0))
	object := &v1alpha1.ServiceRuleSlice{TypeMeta: typeMeta("ServiceRuleSlice"), Spec: s.Spec}
	object.ObjectMeta = metav1.ObjectMeta{
		Name: s.Name, UID: uid, Generation: 1, ResourceVersion: "1", CreationTimestamp: created,
		Labels:      model.SliceLabels(model.ServiceOf(&s.Spec)),
		Annotations: map[string]string{v1alpha1.AnnotationServiceUID: string(uid)},
		ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: v1alpha1.ControllerName, Operation: metav1.ManagedFieldsOperationApply, APIVersion: v1alpha1.GroupVersion.String(),
			Time: &created, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(
				`{"f:metadata":{"f:annotations":{"f:fairlead.dev/service-uid":{}},"f:labels":{"f:app.kubernetes.io/managed-by":{},` +
					`"f:fairlead.dev/service-name":{},"f:fairlead.dev/service-namespace":{}}},"f:spec":{}}`),
		}},
	}
	e, err := event(kind, object)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slices[s.Name] = e
	return e, nil
}

func event(kind string, object any) ([]byte, error) {
	raw, err := json.Marshal(object)
	return fmt.Appendf(nil, `{"type":%q,"object":%s}`+"\n", kind, raw), err
}

// change puts a slice and hands it to the watch.
func (a *apiserver) change(ctx context.Context, s compile.Slice) error {
	e, err := a.put("MODIFIED", s)
	if err != nil {
		return err
	}
	select {
	case a.changed <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *apiserver) watchSlices(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	var all bytes.Buffer
	for _, e := range a.slices {
		all.Write(bytes.Replace(e, []byte("MODIFIED"), []byte("ADDED"), 1))
	}
	a.mu.Unlock()
	stream(a.closing, w, r, typeMeta("ServiceRuleSlice"), all.Bytes(), a.changed)
}

func (a *apiserver) watchNode(w http.ResponseWriter, r *http.Request) {
	stream(a.closing, w, r, typeMeta("NodeRuleSet"), a.node, nil)
}

// stream answers a watch that begins with all objects (KEP-3157), until closing ends.
func stream(closing context.Context, w http.ResponseWriter, r *http.Request, kind metav1.TypeMeta, all []byte, changed <-chan []byte) {
	if r.FormValue("sendInitialEvents") != "true" {
		http.Error(w, "lists are not served: watch with sendInitialEvents", http.StatusNotImplemented)
		return
	}
	mark, err := event("BOOKMARK", map[string]any{"apiVersion": kind.APIVersion, "kind": kind.Kind,
		"metadata": metav1.ObjectMeta{ResourceVersion: "1", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for next := slices.Concat(all, mark); ; {
		// An error means that the watcher has disconnected.
		if _, err := w.Write(next); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case next = <-changed:
		case <-r.Context().Done():
			return
		case <-closing.Done():
			return
		}
	}
}

// forgetStatuses drops the statuses that nothing has read, so that those of an agent that
// has been killed are not taken for the next one's.
func (a *apiserver) forgetStatuses() {
	for {
		select {
		case <-a.statuses:
		default:
			return
		}
	}
}

func (a *apiserver) takeStatus(w http.ResponseWriter, r *http.Request) {
	var object v1alpha1.NodeRuleSet
	body, err := io.ReadAll(r.Body)
	if err = errors.Join(err, json.Unmarshal(body, &object)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.statuses <- object.Status
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // an error means that the agent has ended
}
