// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bookmarkInterval is how often a quiet watch gets a bookmark.
const bookmarkInterval = time.Minute

// watch is the body of the response to a watch: Read waits for the next event.
type watch struct {
	server   *Server
	resource *resource
	client   string
	at       *Client
	match    func(*Object) bool
	ctx      context.Context // of the request
	closed   chan struct{}
	expires  <-chan time.Time

	bookmarks bool
	cut       bool // end at once; server.mu
	end       bool // end after the last event; server.mu

	version uint64 // seen so far
	buffer  bytes.Buffer
}

// watch begins a watch.
func (s *Server) watch(r *resource, req request) *http.Response {
	match, err := matcher(req)
	if err != nil {
		return answer(req.http, statusOf(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil))
	}
	w := &watch{server: s, resource: r, client: req.client.Name, at: req.client, match: match, ctx: req.http.Context(),
		closed: make(chan struct{}), bookmarks: req.query.Get("allowWatchBookmarks") == "true"}
	if n, err := strconv.Atoi(req.query.Get("timeoutSeconds")); err == nil && n > 0 {
		w.expires = time.After(time.Duration(n) * time.Second)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.gone {
		return answer(req.http, statusOf(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource", nil))
	}
	from := req.query.Get("resourceVersion")
	version, err := strconv.ParseUint(from, 10, 64)
	initial := req.query.Get("sendInitialEvents") == "true"
	switch {
	case initial && err == nil && version > s.version:
		return answer(req.http, tooLarge())
	case initial || from == "" || from == "0":
		w.version = s.version
		for _, o := range req.selected(r, match) {
			w.event("ADDED", req.client.view(r.Resource, o))
		}
		if initial {
			w.bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		}
	case err != nil:
		return answer(req.http, statusOf(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil))
	case version > s.version:
		return answer(req.http, tooLarge())
	case version < r.compacted:
		return answer(req.http, expired())
	default:
		w.version = version
	}
	s.watches[w] = struct{}{}
	return respond(req.http, http.StatusOK, w)
}

// Read implements io.Reader.
func (w *watch) Read(p []byte) (int, error) {
	for w.buffer.Len() == 0 {
		if err := w.next(); err != nil {
			return 0, err
		}
	}
	return w.buffer.Read(p)
}

// next waits for events and puts them into the buffer. Those that a client gets late come
// together.
func (w *watch) next() error {
	quiet := time.NewTimer(bookmarkInterval)
	defer quiet.Stop()
	for {
		w.server.mu.Lock()
		changed := w.server.changed
		lag := w.at.lag(w.resource.Resource)
		if w.cut {
			w.server.mu.Unlock()
			return io.EOF
		}
		if lag <= 0 {
			if w.take() {
				w.server.mu.Unlock()
				return nil
			}
			if w.end {
				w.server.mu.Unlock()
				return io.EOF
			}
		}
		w.server.mu.Unlock()
		var late <-chan time.Time
		if lag > 0 {
			late = time.After(lag)
		}
		select {
		case <-changed:
		case <-late:
		case <-quiet.C:
			if w.bookmarks && lag <= 0 {
				w.bookmark(nil)
				return nil
			}
			quiet.Reset(bookmarkInterval)
		case <-w.expires:
			return io.EOF
		case <-w.closed:
			return net(io.ErrClosedPipe)
		case <-w.ctx.Done():
			return w.ctx.Err()
		}
	}
}

func net(err error) error { return fmt.Errorf("read the response: %w", err) }

// take puts the events since the last time into the buffer, and says whether there are any.
// The caller holds the server's mu.
func (w *watch) take() bool {
	if w.version < w.resource.compacted {
		text, _ := json.Marshal(expired()) // a Status always encodes
		w.event("ERROR", text)
		w.version, w.end = w.server.version, true
		return true
	}
	log := w.resource.log
	first := len(log)
	for first > 0 && log[first-1].version > w.version {
		first--
	}
	for _, c := range log[first:] {
		w.version = c.version
		was, is := w.match(c.old), w.match(c.now)
		switch {
		case is && was:
			w.event("MODIFIED", w.at.view(w.resource.Resource, c.now))
		case is:
			w.event("ADDED", w.at.view(w.resource.Resource, c.now))
		case was:
			// Its version is that of the change, also if it only left the selection.
			last := *c.old
			last.Meta.ResourceVersion = strconv.FormatUint(c.version, 10)
			last.encoded = w.resource.encode(&last)
			w.event("DELETED", w.at.view(w.resource.Resource, &last))
		}
	}
	return w.buffer.Len() > 0
}

func (w *watch) event(kind string, object []byte) {
	fmt.Fprintf(&w.buffer, `{"type":%q,"object":`, kind)
	w.buffer.Write(object)
	w.buffer.WriteString("}\n")
}

func (w *watch) bookmark(annotations map[string]string) {
	r := w.resource
	w.event("BOOKMARK", r.encode(&Object{Meta: metav1.ObjectMeta{
		ResourceVersion: strconv.FormatUint(w.version, 10), Annotations: annotations}}))
}

// Close implements io.Closer.
func (w *watch) Close() error {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if _, open := w.server.watches[w]; open {
		delete(w.server.watches, w)
		close(w.closed)
	}
	return nil
}
