// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/serve/httpserver"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// stepped returns a server that no goroutine runs.
func stepped(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(time.Unix(1000, 0))}
	f.Server = New(func() bool { return true }, nil, func() { f.changes.Add(1) }, logr.Discard(), f.clock)
	want := map[corev1.IPFamily]string{corev1.IPv4Protocol: "0.0.0.0", corev1.IPv6Protocol: "::"}
	if diff := cmp.Diff(want, f.bind); diff != "" {
		t.Errorf("listens at (-want +got):\n%s", diff)
	}
	f.bind = map[corev1.IPFamily]string{corev1.IPv4Protocol: "127.0.0.1", corev1.IPv6Protocol: "::1"}
	t.Cleanup(func() {
		for _, l := range f.listeners {
			l.Close()
		}
	})
	return f
}

// TestPauses checks when a port that another program holds is tried again.
func TestPauses(t *testing.T) {
	f := stepped(t)
	port, other := portInUse(t)
	free := freePort(t)
	const pause = httpserver.RetryMin
	for _, step := range []struct {
		name  string
		after time.Duration
		do    func()
		want  time.Duration // until the next try; 0: there is nothing to try
	}{
		{"nothing", 0, func() {}, 0},
		{"in use", 0, func() { f.set(port, claim("web", 1)) }, pause},
		{"another is opened", pause / 2, func() { f.set(free, claim("a", 1)) }, pause / 2},
		{"the first retry", pause / 2, func() {}, 2 * pause},
		{"too early, and it would be free", pause, func() { other.Close() }, pause},
		{"the second retry", pause, func() {}, 0},
		{"it is claimed twice", 0, func() { f.set(port, claim("web", 1), claim("b", 1)) }, pause},
		{"and once", pause / 4, func() { f.set(port, claim("web", 1)) }, 0},
		{"all are gone", 0, func() { f.set(port); f.set(free) }, 0},
	} {
		f.clock.Step(step.after)
		step.do()
		if got := f.step(t.Context(), func(resolve.HealthPort, net.Listener) {}); got != step.want {
			t.Errorf("%s: the next step comes in %v, want %v", step.name, got, step.want)
		}
	}
	if diff := cmp.Diff([2]int{0, 0}, f.ports()); diff != "" {
		t.Errorf("open and failing, in the end:\n%s", diff)
	}
}

// TestNotesOfAPortAgain checks that an event is written again once there was nothing to say, and when
// too many were to be written before.
func TestNotesOfAPortAgain(t *testing.T) {
	inUse := errors.New("in use")
	web := claim("web", 1)
	service := func(n note) string { return n.service.Name }
	for name, c := range map[string]struct {
		do   func(s *Server, port resolve.HealthPort, claims []resolve.HealthCheck)
		want []string
	}{
		"the same on and on": {func(s *Server, port resolve.HealthPort, claims []resolve.HealthCheck) {
			s.note(port, claims, inUse)
			s.note(port, claims, inUse)
		}, []string{"web"}},
		"for another reason": {func(s *Server, port resolve.HealthPort, claims []resolve.HealthCheck) {
			s.note(port, claims, inUse)
			s.note(port, claims, errors.New("denied"))
		}, []string{"web", "web"}},
		"open, and in use again": {func(s *Server, port resolve.HealthPort, claims []resolve.HealthCheck) {
			s.note(port, claims, inUse)
			s.note(port, claims, nil)
			s.note(port, claims, inUse)
		}, []string{"web", "web"}},
		"there were too many": {func(s *Server, port resolve.HealthPort, claims []resolve.HealthCheck) {
			for range maxNotes {
				s.notes <- note{}
			}
			s.note(port, claims, inUse)
			for range maxNotes {
				<-s.notes
			}
			s.note(port, claims, inUse)
		}, []string{"web"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := stepped(t)
			c.do(f.Server, resolve.HealthPort{Family: corev1.IPv4Protocol, Number: 30000}, []resolve.HealthCheck{web})
			close(f.Server.notes)
			var got []string
			for n := range f.Server.notes {
				got = append(got, service(n))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// failing is a listener that accepts nothing any more.
type failing struct {
	net.Listener
	err error
}

func (l failing) Accept() (net.Conn, error) { return nil, l.err }
func (l failing) Close() error              { return nil }

// TestAcceptFails checks that a port that accepts nothing any more is opened again, unless it was closed
// or has another listener by now.
func TestAcceptFails(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		another bool
		again   bool
	}{
		"out of memory":          {errors.New("out of memory"), false, true},
		"it was closed":          {net.ErrClosed, false, false},
		"it has another by then": {errors.New("out of memory"), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := stepped(t)
			port := resolve.HealthPort{Family: corev1.IPv4Protocol, Number: 30000}
			l := failing{err: c.err}
			f.listeners[port] = l
			if c.another {
				f.listeners[port] = failing{err: net.ErrClosed}
			}
			f.serve(httpserver.New(f.Server, logr.Discard()), port, l)
			woken := false
			select {
			case <-f.wakeup:
				woken = true
			default:
			}
			_, dirty := f.dirty[port]
			if dirty != c.again || woken != c.again || (f.listeners[port] == nil) != c.again {
				t.Errorf("to be opened again: %v, woken: %v, its listener: %v", dirty, woken, f.listeners[port])
			}
		})
	}
}

// TestQuestionsOfNone checks what a question gets whose port has no Service any more.
func TestQuestionsOfNone(t *testing.T) {
	f := stepped(t)
	f.Update(model.NodeSettings{}, resolve.HealthChecks{{Family: corev1.IPv4Protocol, Number: 30000}: {claim("web", 1)}})
	for name, at := range map[string]net.Addr{
		"another port":   &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 30001},
		"another family": &net.TCPAddr{IP: net.IPv6loopback, Port: 30000},
		"unknown":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			if at != nil {
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, at))
			}
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if w.Code != http.StatusServiceUnavailable || !strings.HasPrefix(w.Body.String(), "no Service has this port") {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
		})
	}
}
