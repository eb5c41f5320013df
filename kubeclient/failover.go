// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Servers are the addresses of the apiservers: those that a client was given, and those
// that it has learned since.
type Servers struct {
	given []string // as host:port, like all addresses here

	mu      sync.Mutex
	hosts   []string // given, then learned
	current string
}

func newServers(given []string) *Servers {
	return &Servers{given: given, hosts: given, current: given[0]}
}

// Learn replaces the learned addresses, as host:port. The client uses them when its
// current server and those it was given fail; its certificate check is the same for all.
func (s *Servers) Learn(hosts []string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts = slices.Clone(s.given)
	for _, h := range hosts {
		if !slices.Contains(s.hosts, h) {
			s.hosts = append(s.hosts, h)
		}
	}
	if !slices.Contains(s.hosts, s.current) {
		s.current = s.hosts[0]
	}
}

// Given returns the addresses that the client was given, as host:port.
func (s *Servers) Given() []string { return slices.Clone(s.given) }

// get returns the current server and the number of servers.
func (s *Servers) get() (host string, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, len(s.hosts)
}

// leave switches to the next server, unless another request already has.
func (s *Servers) leave(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.hosts, host); s.current == host {
		s.current = s.hosts[(i+1)%len(s.hosts)]
	}
}

// failover sends requests to the current address, and to the next one if the
// connection fails. A request that was sent is never repeated: if it fails before the
// response begins, the caller retries it, at the next address.
type failover struct {
	servers *Servers
	next    http.RoundTripper

	// patience is how long a server may take until its response begins.
	patience time.Duration
}

// errSilent is the cause of a request that was cancelled because the response did not
// begin.
var errSilent = errors.New("no response")

// RoundTrip implements http.RoundTripper.
func (f *failover) RoundTrip(req *http.Request) (*http.Response, error) {
	var errs []error
	for try := 0; ; try++ {
		host, count := f.servers.get()
		attempt := req.Clone(req.Context())
		attempt.URL.Host = host
		attempt.Host = host
		if try > 0 && req.GetBody != nil {
			// The transport closed the first body when it could not connect.
			body, err := req.GetBody()
			if err != nil {
				return nil, fmt.Errorf("rewind request body: %w", err)
			}
			attempt.Body = body
		}
		resp, err := f.send(attempt)
		if err == nil {
			return resp, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", host, err))
		canRepeat := req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
		if !errors.Is(req.Context().Err(), context.Canceled) {
			// The caller did not end the request, unless its time is over: then the
			// next one must not meet the same silent server.
			f.servers.leave(host)
		}
		if !neverConnected(err) || req.Context().Err() != nil || !canRepeat || try+1 >= count {
			return nil, errors.Join(errs...)
		}
	}
}

// send sends a request, and ends it if the response does not begin in time.
func (f *failover) send(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(f.patience, func() { cancel(errSilent) })
	resp, err := f.next.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
			err = fmt.Errorf("%w within %s", cause, f.patience)
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &body{resp.Body, cancel}
	return resp, nil
}

// body is the body of a response. Its end releases the request's context.
type body struct {
	io.ReadCloser
	release context.CancelCauseFunc
}

// Close implements io.Closer.
func (b *body) Close() error {
	defer b.release(nil)
	return b.ReadCloser.Close()
}

// WrappedRoundTripper returns the wrapped transport to client-go.
func (f *failover) WrappedRoundTripper() http.RoundTripper { return f.next }

// neverConnected reports whether an error occurred before the request was sent: no
// connection, or a server that is not the apiserver (any more).
func neverConnected(err error) bool {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return true
	}
	var cert *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	return errors.As(err, &cert) || errors.As(err, &noTLS)
}
