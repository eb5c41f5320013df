// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestServers checks which server comes after one that fails, while others learn new ones.
func TestServers(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*Servers)
		want string
		all  []string
	}{
		"the first":                {func(*Servers) {}, "a", []string{"a", "b"}},
		"the next":                 {func(s *Servers) { s.leave("a") }, "b", []string{"a", "b"}},
		"around":                   {func(s *Servers) { s.leave("a"); s.leave("b") }, "a", []string{"a", "b"}},
		"left by another request":  {func(s *Servers) { s.leave("a"); s.leave("a") }, "b", []string{"a", "b"}},
		"left by a late request":   {func(s *Servers) { s.Learn([]string{"c"}); s.leave("a"); s.leave("b"); s.leave("a") }, "c", []string{"a", "b", "c"}},
		"learned come last":        {func(s *Servers) { s.Learn([]string{"c", "a"}); s.leave("a") }, "b", []string{"a", "b", "c"}},
		"to a learned one":         {func(s *Servers) { s.Learn([]string{"c"}); s.leave("a"); s.leave("b") }, "c", []string{"a", "b", "c"}},
		"a learned one stays":      {func(s *Servers) { s.Learn([]string{"c"}); s.leave("a"); s.leave("b"); s.Learn([]string{"c", "d"}) }, "c", []string{"a", "b", "c", "d"}},
		"a learned one is no more": {func(s *Servers) { s.Learn([]string{"c"}); s.leave("a"); s.leave("b"); s.Learn([]string{"d"}) }, "a", []string{"a", "b", "d"}},
		"none is learned any more": {func(s *Servers) { s.Learn([]string{"c"}); s.Learn(nil) }, "a", []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServers([]string{"a", "b"})
			c.do(s)
			if current, count := s.get(); current != c.want || count != len(c.all) {
				t.Errorf("at %s of %d, want %s of %d", current, count, c.want, len(c.all))
			}
			if diff := cmp.Diff(c.all, s.hosts); diff != "" {
				t.Errorf("servers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"a", "b"}, s.Given()); diff != "" {
				t.Errorf("given (-want +got):\n%s", diff)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// closing is a body that cannot be read again once it is closed, as the transport does.
type closing struct {
	io.Reader
	closed bool
}

func (b *closing) Close() error { b.closed = true; return nil }

func (b *closing) Read(p []byte) (int, error) {
	if b.closed {
		return 0, errors.New("read after Close")
	}
	return b.Reader.Read(p)
}

// TestRequests checks what a failed request means for the next one, and that a repeated
// request is whole.
func TestRequests(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for name, c := range map[string]struct {
		first  func(cancel func()) error // of the first try
		tries  int
		next   string // the server of the next request
		failed bool
	}{
		"works":                 {func(func()) error { return nil }, 1, "a", false},
		"refused":               {func(func()) error { return refused }, 2, "b", false},
		"ended by its caller":   {func(cancel func()) error { cancel(); return context.Canceled }, 1, "a", true},
		"sent, and then broken": {func(func()) error { return &net.OpError{Op: "read", Err: errors.New("reset")} }, 1, "b", true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tries, got := 0, ""
			f := &failover{servers: newServers([]string{"a", "b"}), patience: time.Minute, next: roundTrip(func(req *http.Request) (*http.Response, error) {
				defer req.Body.Close()
				if tries++; tries == 1 {
					if err := c.first(cancel); err != nil {
						return nil, err
					}
				}
				text, err := io.ReadAll(req.Body)
				got = string(text)
				return &http.Response{Body: http.NoBody}, err
			})}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://a/", &closing{Reader: strings.NewReader("hello")})
			if err != nil {
				t.Fatal(err)
			}
			req.GetBody = func() (io.ReadCloser, error) { return &closing{Reader: strings.NewReader("hello")}, nil }
			resp, err := f.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			if (err != nil) != c.failed || tries != c.tries || err == nil && got != "hello" {
				t.Errorf("%d tries, error %v, sent %q", tries, err, got)
			}
			if next, _ := f.servers.get(); next != c.next {
				t.Errorf("the next request goes to %s, want %s", next, c.next)
			}
		})
	}
}
