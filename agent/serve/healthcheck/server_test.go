// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

// fixture is a server on loopback addresses.
type fixture struct {
	*Server
	t       *testing.T
	clock   *clocktesting.FakeClock
	healthy atomic.Bool
	changes atomic.Int32 // of Failure

	mu    sync.Mutex
	notes []string
}

// start starts a server and stops it after the test.
func start(t *testing.T) (f *fixture, stop func()) {
	t.Helper()
	f = &fixture{t: t, clock: clocktesting.NewFakeClock(time.Now())}
	f.healthy.Store(true)
	f.Server = New(f.healthy.Load, func(_ context.Context, service model.ServiceID, note string) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.notes = append(f.notes, service.Name+": "+note)
		return nil
	}, func() { f.changes.Add(1) }, logr.Discard(), f.clock)
	f.bind = map[corev1.IPFamily]string{corev1.IPv4Protocol: "127.0.0.1", corev1.IPv6Protocol: "::1"}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return f, stop
}

// set makes Services the claims of a port, each with so many endpoints.
func (f *fixture) set(port resolve.HealthPort, claims ...resolve.HealthCheck) {
	for i := range claims {
		claims[i].Service.Namespace, claims[i].Service.Family, claims[i].Port = "default", port.Family, port.Number
	}
	f.Update(model.NodeSettings{}, resolve.HealthChecks{port: claims})
}

func claim(name string, ready int) resolve.HealthCheck {
	return resolve.HealthCheck{Service: model.ServiceID{Name: name}, LocalReady: ready}
}

// freePorts returns ports that are free.
func freePorts(t *testing.T, n int) []uint16 {
	t.Helper()
	var ports []uint16
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, localOf(l.Addr()).Port())
	}
	return ports
}

func freePort(t *testing.T) resolve.HealthPort {
	t.Helper()
	return resolve.HealthPort{Family: corev1.IPv4Protocol, Number: freePorts(t, 1)[0]}
}

// ask returns an answer as "status weight body", or "refused".
func ask(port resolve.HealthPort, path string) string {
	host := "127.0.0.1"
	if port.Family == corev1.IPv6Protocol {
		host = "[::1]"
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	got, err := client.Get(fmt.Sprintf("http://%s:%d%s", host, port.Number, path))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	if err != nil {
		return err.Error()
	}
	defer got.Body.Close()
	if !got.Close {
		return "the connection stays open"
	}
	var body map[string]any
	if err := json.NewDecoder(got.Body).Decode(&body); err != nil {
		return err.Error()
	}
	if got.Header.Get("Content-Type") != "application/json" || got.Header.Get("X-Content-Type-Options") != "nosniff" {
		return fmt.Sprint("headers ", got.Header)
	}
	return fmt.Sprint(got.StatusCode, " ", got.Header.Get("X-Load-Balancing-Endpoint-Weight"), " ", body)
}

// await waits until get returns want.
func await[T any](t *testing.T, want T, get func() T) {
	t.Helper()
	got := get()
	for deadline := time.Now().Add(time.Minute); !cmp.Equal(want, got); got = get() {
		if time.Now().After(deadline) {
			t.Fatalf("(-want +got):\n%s", cmp.Diff(want, got))
		}
		time.Sleep(time.Millisecond)
	}
}

func (f *fixture) wantAnswer(port resolve.HealthPort, want string) {
	f.t.Helper()
	await(f.t, want, func() string { return ask(port, "/any/path?x=y") })
}

func body(name string, endpoints int, healthy bool) string {
	return fmt.Sprintf("map[localEndpoints:%d service:map[name:%s namespace:default] serviceProxyHealthy:%v]", endpoints, name, healthy)
}

func TestAnswers(t *testing.T) {
	f, _ := start(t)
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		t.Run(string(family), func(t *testing.T) {
			port := freePort(t)
			port.Family = family
			f.wantAnswer(port, "refused")
			f.set(port, claim("web", 2))
			f.wantAnswer(port, "200 2 "+body("web", 2, true))
			f.set(port, claim("web", 0))
			f.wantAnswer(port, "503 0 "+body("web", 0, true))
			f.set(port, claim("web", 1))
			f.healthy.Store(false)
			f.wantAnswer(port, "503 1 "+body("web", 1, false))
			f.healthy.Store(true)
			f.wantAnswer(port, "200 1 "+body("web", 1, true))
			f.set(port)
			f.wantAnswer(port, "refused")
		})
	}
}

// TestCountsKeepListeners changes a count: the listener must stay the same.
func TestCountsKeepListeners(t *testing.T) {
	f, _ := start(t)
	port := freePort(t)
	f.set(port, claim("web", 1))
	f.wantAnswer(port, "200 1 "+body("web", 1, true))
	before := f.listenerOf(port)
	f.set(port, claim("web", 7))
	f.set(port, claim("other", 7)) // also a change of hands
	f.wantAnswer(port, "200 7 "+body("other", 7, true))
	if f.listenerOf(port) != before {
		t.Error("the listener was replaced")
	}
}

func (f *fixture) listenerOf(port resolve.HealthPort) net.Listener {
	f.Server.mu.Lock()
	defer f.Server.mu.Unlock()
	return f.listeners[port]
}

// portInUse returns a port that another process has, and its listener.
func portInUse(t *testing.T) (resolve.HealthPort, net.Listener) {
	t.Helper()
	port := freePort(t)
	other, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port.Number))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	return port, other
}

// TestPortInUse wants a port that another process has: the Service gets one event,
// and the port is opened as soon as it is free.
func TestPortInUse(t *testing.T) {
	f, _ := start(t)
	port, other := portInUse(t)
	f.set(port, claim("web", 1))
	await(t, 1, func() int { return len(f.events()) })
	if note := f.events()[0]; !strings.Contains(note, "web: ") || !strings.Contains(note, "address already in use") {
		t.Errorf("events %q", note)
	}
	for _, step := range []time.Duration{httpserver.RetryMin, 2 * httpserver.RetryMin, 4 * httpserver.RetryMin} {
		await(t, true, f.clock.HasWaiters)
		f.clock.Step(step)
	}
	await(t, true, f.clock.HasWaiters)
	if _, failing := f.Ports(); failing != 1 || len(f.events()) != 1 {
		t.Errorf("%d ports fail, events %q", failing, f.events())
	}
	if err := f.Failure(); err == nil || f.changes.Load() != 1 {
		t.Errorf("the node reports %v, after %d changes; want that a port is not open, once", err, f.changes.Load())
	}
	other.Close()
	f.clock.Step(httpserver.RetryMax)
	f.wantAnswer(port, "200 1 "+body("web", 1, true))
	await(t, [2]int{1, 0}, f.ports)
	await(t, 2, func() int { return int(f.changes.Load()) })
	if err := f.Failure(); err != nil {
		t.Errorf("the node reports %v, though the port is open", err)
	}
}

// TestPortInUseOfAnotherService gives a port that another process has to another Service: that
// one gets an event at once, not at the next try.
func TestPortInUseOfAnotherService(t *testing.T) {
	f, _ := start(t)
	port, _ := portInUse(t)
	f.set(port, claim("a", 1))
	await(t, 1, func() int { return len(f.events()) })
	f.set(port, claim("b", 1))
	await(t, 2, func() int { return len(f.events()) })
	if note := f.events()[1]; !strings.HasPrefix(note, "b: ") || !strings.Contains(note, "address already in use") {
		t.Errorf("events %q", f.events())
	}
}

func (f *fixture) ports() [2]int {
	open, failing := f.Ports()
	return [2]int{open, failing}
}

func (f *fixture) events() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.notes...)
}

// TestTwoServicesWantAPort writes an event of the one that does not get it.
func TestTwoServicesWantAPort(t *testing.T) {
	f, _ := start(t)
	port := freePort(t)
	f.set(port, claim("a", 1), claim("b", 2))
	f.wantAnswer(port, "200 1 "+body("a", 1, true))
	await(t, 1, func() int { return len(f.events()) })
	if err := f.Failure(); err != nil {
		t.Errorf("the node reports %v; the Services are what is wrong", err)
	}
	if note := f.events()[0]; !strings.Contains(note, "b: ") || !strings.Contains(note, "belongs to Service default/a") {
		t.Errorf("events %q", note)
	}
	f.set(port, claim("b", 2))
	f.wantAnswer(port, "200 2 "+body("b", 2, true))
	await(t, [2]int{1, 0}, f.ports)
}

// TestAcceptsWhereItAnswers resets connections to other addresses.
func TestAcceptsWhereItAnswers(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	var answers atomic.Bool
	l := &listener{Listener: inner, answers: func(local netip.Addr) bool {
		return answers.Load() && local == netip.MustParseAddr("127.0.0.1")
	}}
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			accepted <- conn
		}
	}()
	refused, err := net.Dial("tcp4", inner.Addr().String())
	if err == nil {
		defer refused.Close()
		_, err = refused.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	answers.Store(true)
	conn, err := net.Dial("tcp4", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	(<-accepted).Close()
}

// TestWhereAPortAnswers opens a port on all addresses, and asks where it answers.
func TestWhereAPortAnswers(t *testing.T) {
	f, _ := start(t)
	port := freePort(t)
	node := model.NodeSettings{NodePortAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	check := claim("web", 1)
	check.LoadBalancerIPs = []netip.Addr{netip.MustParseAddr("203.0.113.1")}
	f.Update(node, resolve.HealthChecks{port: {check}})
	await(t, true, func() bool { return f.listenerOf(port) != nil })
	answers := f.listenerOf(port).(*listener).answers
	for address, want := range map[string]bool{"127.0.0.1": true, "192.0.2.1": true, "203.0.113.1": true, "192.0.2.2": false, "10.244.1.1": false} {
		if got := answers(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	f.Update(node, resolve.HealthChecks{port: nil})
	if answers(netip.MustParseAddr("192.0.2.1")) {
		t.Error("it answers for a Service that is gone")
	}
}

// TestManyServices opens and closes many ports and leaves nothing behind.
func TestManyServices(t *testing.T) {
	const n = 1000
	ports := freePorts(t, n)
	before := runtime.NumGoroutine()
	f, stop := start(t)
	all := resolve.HealthChecks{}
	for i, number := range ports {
		c := claim(fmt.Sprint("web-", i), 1)
		all[resolve.HealthPort{Family: corev1.IPv4Protocol, Number: number}] = []resolve.HealthCheck{c}
	}
	f.Update(model.NodeSettings{}, all)
	await(t, [2]int{n, 0}, f.ports)
	if extra := runtime.NumGoroutine() - before; extra > n+10 {
		t.Errorf("%d goroutines for %d Services", extra, n)
	}
	for port := range all {
		if got := ask(port, "/"); !strings.HasPrefix(got, "200 1 ") {
			t.Fatalf("got %q", got)
		}
		break
	}
	for port := range all {
		all[port] = nil
	}
	f.Update(model.NodeSettings{}, all)
	await(t, [2]int{0, 0}, f.ports)
	await(t, true, func() bool { return runtime.NumGoroutine() <= before+10 })
	stop()
	await(t, true, func() bool { return runtime.NumGoroutine() <= before })
}

// TestStop closes what is open.
func TestStop(t *testing.T) {
	f, stop := start(t)
	port := freePort(t)
	f.set(port, claim("web", 1))
	f.wantAnswer(port, "200 1 "+body("web", 1, true))
	stop()
	if got := ask(port, "/"); got != "refused" {
		t.Errorf("got %q after the end", got)
	}
}
