// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
)

// pipe is a listener that accepts one connection.
type pipe struct {
	conns  chan net.Conn
	closed context.Context
	close  func()
}

func (p pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed.Done():
		return nil, net.ErrClosed
	}
}

func (p pipe) Close() error   { p.close(); return nil }
func (p pipe) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowClients checks, in a bubble with a clock of its own, that the server does not
// wait for clients that hold a connection.
func TestSlowClients(t *testing.T) {
	cases := map[string]struct {
		send   string
		within time.Duration
	}{
		"sends nothing":           {"", timeout},
		"sends half a header":     {"GET / HTTP/1.1\r\nHost: a", timeout},
		"sends no body":           {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", timeout},
		"keeps its connection":    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", idleTimeout},
		"sends an endless header": {"GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", 3*maxHeader), 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, served := net.Pipe()
				ctx, cancel := context.WithCancel(t.Context())
				listener := pipe{make(chan net.Conn, 1), ctx, cancel}
				listener.conns <- served
				server := New(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadAll(r.Body) // its end is what the test waits for
				}), logr.Discard())
				done := make(chan error, 1)
				go func() { done <- server.Serve(listener) }()
				go func() { _, _ = io.WriteString(client, tc.send) }() // cut off if it is too long
				begin := time.Now()
				_, err := io.Copy(io.Discard, client)
				if took := time.Since(begin); err != nil || took > tc.within+time.Second {
					t.Errorf("closed after %s, want %s; error %v", took, tc.within, err)
				}
				client.Close()
				server.Close()
				if err := <-done; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			})
		})
	}
}

// TestServerHeader checks that answers say that they are an agent's.
func TestServerHeader(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"an answer": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") },
		"an error":  func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			New(handler, logr.Discard()).Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
			if got := w.Header().Get("Server"); got != Name {
				t.Errorf("Server: %q, want %q", got, Name)
			}
		})
	}
}
