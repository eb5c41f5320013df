// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// request is what a path and a query ask for.
type request struct {
	namespace, name, subresource string
	query                        url.Values
	client                       *Client
	http                         *http.Request
}

// serve answers a request.
func (s *Server) serve(c *Client, h *http.Request) *http.Response {
	r, req := s.route(h.URL.Path)
	req.query, req.client, req.http = h.URL.Query(), c, h
	if r == nil {
		return answer(h, statusOf(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource", nil))
	}
	if r.Resource == "events" {
		return created(h) // they are not kept
	}
	if h.Method == http.MethodGet && req.query.Get("watch") == "true" || req.query.Get("watch") == "1" {
		return s.watch(r, req)
	}
	var body []byte
	if h.Body != nil {
		body, _ = io.ReadAll(h.Body) // it is in memory
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.gone {
		return answer(h, statusOf(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource", nil))
	}
	if h.Method == http.MethodGet && req.name == "" {
		return s.list(r, req)
	}
	object, status := s.one(r, req, body)
	if status != nil {
		return answer(h, status)
	}
	code := http.StatusOK
	if h.Method == http.MethodPost {
		code = http.StatusCreated
	}
	return respond(h, code, io.NopCloser(bytes.NewReader(c.view(r.Resource, object))))
}

// created answers the creation of an object that is not kept.
func created(h *http.Request) *http.Response {
	body, _ := io.ReadAll(h.Body) // it is in memory
	return respond(h, http.StatusCreated, io.NopCloser(bytes.NewReader(body)))
}

// route finds the resource of a path.
func (s *Server) route(path string) (*resource, request) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var req request
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return nil, req
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		req.namespace, parts = parts[1], parts[2:]
	}
	if len(parts) > 1 {
		req.name = parts[1]
	}
	if len(parts) > 2 {
		req.subresource = parts[2]
	}
	return s.resources[parts[0]], req
}

// one answers a request for one object. The caller holds mu.
func (s *Server) one(r *resource, req request, body []byte) (*Object, *metav1.Status) {
	switch req.http.Method {
	case http.MethodGet:
		if o := r.objects[key(req.namespace, req.name)]; o != nil {
			return o, nil
		}
		return nil, notFound(r, req.name)
	case http.MethodDelete:
		return s.deleteOne(r, req, body)
	}
	in, err := decode(body)
	if err != nil {
		return nil, statusOf(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil)
	}
	in.Meta.Namespace = cmp.Or(in.Meta.Namespace, req.namespace)
	switch req.http.Method {
	case http.MethodPatch:
		if kind := req.http.Header.Get("Content-Type"); !strings.Contains(kind, "apply-patch") {
			return nil, statusOf(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, kind, nil)
		}
		p := patch{intent: in, manager: req.query.Get("fieldManager"), status: req.subresource == "status"}
		return s.apply(req.client.Name, r, key(req.namespace, req.name), p)
	case http.MethodPost:
		if r.objects[in.key()] != nil {
			return nil, statusOf(http.StatusConflict, metav1.StatusReasonAlreadyExists, "the object exists", details(r, in.Meta.Name))
		}
		s.prune(r, in)
		return s.store(req.client.Name, r, nil, in), nil
	case http.MethodPut:
		old := r.objects[in.key()]
		if old == nil {
			return nil, notFound(r, in.Meta.Name)
		}
		if v := in.Meta.ResourceVersion; v != "" && v != old.Meta.ResourceVersion {
			return nil, conflict(r, in.Meta.Name, "the object has been modified")
		}
		s.prune(r, in)
		in.Meta.UID, in.Meta.CreationTimestamp, in.Meta.Generation = old.Meta.UID, old.Meta.CreationTimestamp, old.Meta.Generation
		return s.store(req.client.Name, r, old, in), nil
	}
	return nil, statusOf(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, req.http.Method, nil)
}

func (s *Server) deleteOne(r *resource, req request, body []byte) (*Object, *metav1.Status) {
	old := r.objects[key(req.namespace, req.name)]
	if old == nil {
		return nil, notFound(r, req.name)
	}
	var options metav1.DeleteOptions
	if len(body) > 0 {
		if err := json.Unmarshal(body, &options); err != nil {
			return nil, statusOf(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil)
		}
	}
	if p := options.Preconditions; p != nil && (p.UID != nil && *p.UID != old.Meta.UID ||
		p.ResourceVersion != nil && *p.ResourceVersion != old.Meta.ResourceVersion) {
		return nil, conflict(r, req.name, "the precondition failed")
	}
	s.remove(req.client.Name, r, old)
	return old, nil
}

// list answers a list. The caller holds mu.
func (s *Server) list(r *resource, req request) *http.Response {
	if v, err := strconv.ParseUint(req.query.Get("resourceVersion"), 10, 64); err == nil && v > s.version {
		return answer(req.http, tooLarge())
	}
	match, err := matcher(req)
	if err != nil {
		return answer(req.http, statusOf(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil))
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"%d"},"items":[`, r.Kind.Kind+"List", r.APIVersion, s.version)
	for i, o := range req.selected(r, match) {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(req.client.view(r.Resource, o))
	}
	out.WriteString("]}")
	return respond(req.http, http.StatusOK, io.NopCloser(&out))
}

// selected returns the objects that a client lists. The caller holds the server's mu.
func (r request) selected(from *resource, match func(*Object) bool) []*Object {
	out := slices.DeleteFunc(from.sorted(), func(o *Object) bool { return !match(o) })
	if listed := r.client.server.Listed; listed != nil {
		listed(r.client.Name, from.Resource, out)
	}
	return out
}

// matcher returns what the selectors of a request choose.
func matcher(req request) (func(*Object) bool, error) {
	byLabel, err := labels.Parse(req.query.Get("labelSelector"))
	if err != nil {
		return nil, err
	}
	byField, err := fields.ParseSelector(req.query.Get("fieldSelector"))
	if err != nil {
		return nil, err
	}
	name, named := byField.RequiresExactMatch("metadata.name")
	return func(o *Object) bool {
		return o != nil && (req.namespace == "" || o.Meta.Namespace == req.namespace) &&
			(!named || o.Meta.Name == name) && byLabel.Matches(labels.Set(o.Meta.Labels))
	}, nil
}

func answer(h *http.Request, s *metav1.Status) *http.Response {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a Status always encodes
	}
	return respond(h, int(s.Code), io.NopCloser(bytes.NewReader(text)))
}

func respond(h *http.Request, code int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: body, ContentLength: -1, Request: h}
}
