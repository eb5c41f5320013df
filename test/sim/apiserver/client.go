// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Client is one process that uses the apiserver, with the faults of its calls. It is an
// http.RoundTripper.
type Client struct {
	Name   string
	server *Server

	mu     sync.Mutex
	dead   bool
	mute   bool
	lags   map[string]time.Time // until when watches of a resource get nothing; "": of any
	apart  time.Time            // until when nothing is reached
	faults []*Fault
	hidden map[string][]string // fields of the spec that the client does not know, by resource
	held   chan struct{}       // closed when its requests go on; nil: they are not held
	group  *sync.WaitGroup     // requests that go on without their client
}

// Outcome is what happens to a call.
type Outcome int

// The outcomes.
const (
	Fail     Outcome = iota // it is not done, and fails
	Refuse                  // it is not done, and the server says so
	Lose                    // it is done, and the response is lost
	Stall                   // it is done after some time, and the response comes then
	DoLate                  // the client gets an error at once, and it is done after some time
	outcomes                // their number
)

// Outcomes is the number of outcomes.
const Outcomes = int(outcomes)

// Fault lets some calls fail.
type Fault struct {
	Outcome Outcome
	Writes  bool // only calls that write
	Count   int
	Pause   time.Duration // of Stall and DoLate
}

var errLost = errors.New("simulated: connection reset by peer")

// NewClient returns a client that works. Requests that go on without it are in group.
func (s *Server) NewClient(name string, group *sync.WaitGroup) *Client {
	return &Client{Name: name, server: s, lags: map[string]time.Time{}, hidden: map[string][]string{}, group: group}
}

// Config returns the configuration of the client.
func (c *Client) Config() *rest.Config {
	cfg := &rest.Config{Host: "http://192.0.2.1:6443", Transport: c, QPS: -1, UserAgent: c.Name}
	cfg.ContentType, cfg.AcceptContentTypes = "application/json", "application/json"
	return cfg
}

// Kill ends the client: it does nothing any more.
func (c *Client) Kill() {
	c.mu.Lock()
	c.dead = true
	c.mu.Unlock()
	c.Release()
	c.server.Cut(func(client, _ string) bool { return client == c.Name })
}

// Mute ends the client, but lets it read: see the simulation's controllers.
func (c *Client) Mute() {
	c.Heal()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = true
}

// Hide sets fields of the spec of a resource that the client is too old to know.
func (c *Client) Hide(resource string, fields ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hidden[resource] = fields
}

// Lag delays the events of the watches of a resource; "": of any.
func (c *Client) Lag(resource string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lags[resource] = time.Now().Add(d)
}

// Part cuts the client off for some time.
func (c *Client) Part(d time.Duration) {
	c.mu.Lock()
	c.apart = time.Now().Add(d)
	c.mu.Unlock()
	c.server.Cut(func(client, _ string) bool { return client == c.Name })
}

// Inject lets the next calls fail.
func (c *Client) Inject(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &f)
}

// Hold holds all requests until Release: the process is paused. They are done then, also
// those that the client has given up.
func (c *Client) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil && !c.dead {
		c.held = make(chan struct{})
	}
}

// Release ends Hold.
func (c *Client) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		close(c.held)
		c.held = nil
	}
}

// Heal ends all faults of the client.
func (c *Client) Heal() {
	c.mu.Lock()
	c.faults, c.apart = nil, time.Time{}
	clear(c.lags)
	c.mu.Unlock()
	c.Release()
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.wake()
}

func (c *Client) lag(resource string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		return time.Second
	}
	return max(time.Until(c.lags[resource]), time.Until(c.lags[""]))
}

// view returns what the client can read of an object.
func (c *Client) view(resource string, o *Object) []byte {
	c.mu.Lock()
	fields := c.hidden[resource]
	c.mu.Unlock()
	if len(fields) == 0 {
		return o.encoded
	}
	seen := *o
	seen.Fields = maps.Clone(o.Fields)
	if spec := seen.Fields["spec"]; len(spec) > 0 {
		seen.Fields["spec"] = without(spec, fields)
	}
	return c.server.resources[resource].encode(&seen)
}

// next takes the fault of a call; nil: it has none. cut: the call does not reach the server.
func (c *Client) next(write bool) (fault *Fault, held chan struct{}, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.apart) {
		return nil, nil, true
	}
	for i, f := range c.faults {
		if f.Writes && !write {
			continue
		}
		if f.Count--; f.Count <= 0 {
			c.faults = append(c.faults[:i:i], c.faults[i+1:]...)
		}
		copied := *f
		return &copied, c.held, c.dead || c.mute && write
	}
	return nil, c.held, c.dead || c.mute && write
}

// RoundTrip implements http.RoundTripper.
func (c *Client) RoundTrip(h *http.Request) (*http.Response, error) {
	if strings.HasPrefix(h.URL.Path, "/apis/events.k8s.io/") {
		// A client may hold a mutex while it writes one (client-go's finishSeries), and for one that waits
		// for a mutex the bubble's time stands still. So events have no faults; they are not kept.
		return created(h), nil
	}
	fault, held, cut := c.next(h.Method != http.MethodGet)
	if cut {
		return nil, errLost
	}
	if admit := c.server.Admit; admit != nil {
		pause, refused := admit(c.Name, h.Method, h.URL.Path)
		time.Sleep(pause)
		if refused {
			return answer(h, unavailable()), nil
		}
	}
	if held != nil {
		select {
		case <-held:
		case <-h.Context().Done():
			c.later(h, held, 0)
			return nil, h.Context().Err()
		}
	}
	if fault == nil {
		return c.server.serve(c, h), nil
	}
	switch fault.Outcome {
	case Refuse:
		return answer(h, unavailable()), nil
	case Lose:
		return nil, errors.Join(errLost, c.server.serve(c, h).Body.Close())
	case Stall:
		select {
		case <-time.After(fault.Pause):
			return c.server.serve(c, h), nil
		case <-h.Context().Done():
			c.later(h, nil, fault.Pause)
			return nil, h.Context().Err()
		}
	case DoLate:
		c.later(h, nil, fault.Pause)
		return nil, errLost
	}
	return nil, errLost
}

// later does a call that its client has given up: the network may still have it.
func (c *Client) later(h *http.Request, held chan struct{}, pause time.Duration) {
	if h.Method == http.MethodGet {
		return
	}
	c.group.Go(func() {
		if held != nil {
			<-held
		}
		time.Sleep(pause)
		_ = c.server.serve(c, h).Body.Close() // its client is gone
	})
}
