// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
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

// TestRepeats checks which requests go on at the next server, how often, and under which name.
func TestRepeats(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	again := func() (io.ReadCloser, error) { return &closing{Reader: strings.NewReader("hello")}, nil }
	gone := errors.New("gone")
	for name, c := range map[string]struct {
		err     error // of every try
		body    io.ReadCloser
		getBody func() (io.ReadCloser, error)
		want    []string // the servers that it goes to
		wantErr error
	}{
		"no body":                       {refused, nil, nil, []string{"a", "b", "c"}, refused},
		"an empty body":                 {refused, http.NoBody, nil, []string{"a", "b", "c"}, refused},
		"a body":                        {refused, &closing{Reader: strings.NewReader("hello")}, again, []string{"a", "b", "c"}, refused},
		"a body that is read only once": {refused, &closing{Reader: strings.NewReader("hello")}, nil, []string{"a"}, refused},
		"a body that is gone":           {refused, &closing{Reader: strings.NewReader("hello")}, func() (io.ReadCloser, error) { return nil, gone }, []string{"a"}, gone},
		"a wrong certificate":           {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, nil, nil, []string{"a", "b", "c"}, x509.UnknownAuthorityError{}},
		"no TLS":                        {tls.RecordHeaderError{Msg: "HTTP"}, nil, nil, []string{"a", "b", "c"}, tls.RecordHeaderError{Msg: "HTTP"}},
		"sent":                          {io.ErrUnexpectedEOF, nil, nil, []string{"a"}, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			var sent []context.Context
			f := &failover{servers: newServers([]string{"a", "b", "c"}), patience: time.Minute, next: roundTrip(func(req *http.Request) (*http.Response, error) {
				sent = append(sent, req.Context())
				if got = append(got, req.Host); req.URL.Host != req.Host {
					t.Errorf("it is for %s, and goes to %s", req.Host, req.URL.Host)
				}
				return nil, c.err
			})}
			req := &http.Request{Method: http.MethodPost, URL: &url.URL{Scheme: "https", Host: "z"}, Host: "z", Body: c.body, GetBody: c.getBody}
			_, err := f.RoundTrip(req.WithContext(t.Context())) //nolint:bodyclose // There is none.
			if !errors.Is(err, c.wantErr) {
				t.Errorf("error %v, want %v", err, c.wantErr)
			}
			for _, ctx := range sent {
				if ctx.Err() == nil {
					t.Error("the context of a request that failed is not released")
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("servers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTimeIsOver checks that a request whose time is over is not repeated, even though it
// never reached a server.
func TestTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tries := 0
		f := &failover{servers: newServers([]string{"a", "b"}), patience: time.Minute, next: roundTrip(func(req *http.Request) (*http.Response, error) {
			tries++
			<-req.Context().Done()
			return nil, &net.OpError{Op: "dial", Err: req.Context().Err()}
		})}
		req := &http.Request{URL: &url.URL{Scheme: "https", Host: "a"}}
		if _, err := f.RoundTrip(req.WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) || tries != 1 { //nolint:bodyclose // There is none.
			t.Errorf("%d tries, error %v", tries, err)
		}
	})
}

// TestPatience checks that only the beginning of a response must come soon: a watch goes on
// for as long as its reader wants.
func TestPatience(t *testing.T) {
	const patience = time.Minute
	for name, c := range map[string]struct {
		begins  time.Duration
		wantErr error
	}{
		"at once":  {0, nil},
		"in time":  {patience - time.Second, nil},
		"too late": {patience + time.Second, errSilent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent context.Context
				events := &closing{Reader: strings.NewReader("events")}
				f := &failover{servers: newServers([]string{"a"}), patience: patience, next: roundTrip(func(req *http.Request) (*http.Response, error) {
					sent = req.Context()
					select {
					case <-time.After(c.begins):
						return &http.Response{Body: events}, nil
					case <-sent.Done():
						return nil, sent.Err()
					}
				})}
				req := &http.Request{URL: &url.URL{Scheme: "https", Host: "a"}}
				resp, err := f.RoundTrip(req.WithContext(t.Context()))
				if !errors.Is(err, c.wantErr) {
					t.Fatalf("error %v, want %v", err, c.wantErr)
				}
				if err != nil {
					return
				}
				time.Sleep(time.Hour)
				if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "events" || sent.Err() != nil {
					t.Errorf("read %q, error %v; the context: %v", text, err, sent.Err())
				}
				if err := resp.Body.Close(); err != nil || !events.closed || sent.Err() == nil {
					t.Errorf("closed: %t, error %v; the context: %v", events.closed, err, sent.Err())
				}
			})
		})
	}
}
