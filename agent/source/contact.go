// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Contact is when the apiserver has answered last.
type Contact struct {
	now  func() time.Time
	wake func()

	mu      sync.Mutex
	began   time.Time // the last of the requests that were answered
	awaited bool      // the next answer wakes the loop
}

// Since says whether the apiserver has answered a request that began after a moment. If not, the
// next answer wakes the loop.
func (c *Contact) Since(moment time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited = !c.began.After(moment)
	return !c.awaited
}

// Answered notes that the apiserver has answered a request that began at a moment.
func (c *Contact) Answered(began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !began.After(c.began) {
		return
	}
	c.began = began
	if c.awaited {
		c.awaited = false
		c.wake()
	}
}

// Observe returns a configuration of which all requests are noted. A gateway that cannot reach
// the apiserver says so with a status of 500 or more; such an answer is none.
func (c *Contact) Observe(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return observer{next, c} })
	return config
}

type observer struct {
	next    http.RoundTripper
	contact *Contact
}

func (o observer) RoundTrip(r *http.Request) (*http.Response, error) {
	began := o.contact.now()
	answer, err := o.next.RoundTrip(r)
	if err == nil && answer.StatusCode < http.StatusInternalServerError {
		o.contact.Answered(began)
	}
	return answer, err
}

// WrappedRoundTripper is for client-go, which looks for the transport within.
func (o observer) WrappedRoundTripper() http.RoundTripper { return o.next }
