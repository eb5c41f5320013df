// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// choice is the current one of several addresses.
type choice struct {
	hosts []string

	mu      sync.Mutex
	current int
}

func (c *choice) get() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// leave switches to the next address, unless another request already has.
func (c *choice) leave(index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == index {
		c.current = (index + 1) % len(c.hosts)
	}
}

// failover sends requests to the current address, and to the next one if the
// connection fails. A request that was sent is never repeated: if it fails, the
// caller retries it.
type failover struct {
	choice *choice
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (f *failover) RoundTrip(req *http.Request) (*http.Response, error) {
	var errs []error
	for try := 0; ; try++ {
		index := f.choice.get()
		host := f.choice.hosts[index]
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
		resp, err := f.next.RoundTrip(attempt)
		if err == nil {
			return resp, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", host, err))
		canRepeat := req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
		if !neverConnected(err) || req.Context().Err() != nil {
			return nil, err
		}
		f.choice.leave(index)
		if !canRepeat || try+1 == len(f.choice.hosts) {
			return nil, errors.Join(errs...)
		}
	}
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
