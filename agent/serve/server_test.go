// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/serve/httpserver"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// await polls until a value is the wanted one.
func await[T comparable](t *testing.T, want T, get func() T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for got := get(); got != want; got = get() {
		if time.Now().After(deadline) {
			t.Fatalf("got %v, want %v", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// ask returns the status of an answer, or "refused".
func ask(address, path string) string {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	got, err := client.Get("http://" + address + path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	if err != nil {
		return err.Error()
	}
	got.Body.Close()
	return got.Status
}

// TestPortsOfAnotherProgram runs beside a program that holds the agent's ports, as
// kube-proxy does: the kubelet's probes are answered, the status says what is wrong, and the
// ports are served as soon as they are free.
func TestPortsOfAnotherProgram(t *testing.T) {
	var others []net.Listener
	for range 2 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		others = append(others, l)
	}
	healthz, metrics := others[0].Addr().String(), others[1].Addr().String()
	clk := clocktesting.NewFakeClock(time.Now())
	h := NewHealth(NewMetrics(), clk, noTime, noTime, func() bool { return false }, func() []metav1.Condition { return nil })
	h.Set(good())
	var changes atomic.Int32
	ports := NewPorts(logr.Discard(), clk, func() { changes.Add(1) })
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	probes := freeAddress(t)
	if _, err := Start(ctx, Addresses{Health: healthz, Metrics: metrics, Probe: probes}, h, ports, &group); err != nil {
		t.Fatal(err)
	}

	await(t, 2, func() int { return int(changes.Load()) })
	for _, path := range []string{"/livez", "/readyz"} {
		if got := ask(probes, path); got != "200 OK" {
			t.Errorf("%s for the kubelet: %s", path, got)
		}
	}
	message := fmt.Sprintf("listen tcp %s: bind: address already in use", healthz)
	if c := degraded(ports); c.Status != metav1.ConditionTrue || c.Reason != v1alpha1.ReasonListenFailed ||
		!strings.Contains(c.Message, message) || !strings.Contains(c.Message, metrics) {
		t.Errorf("status %+v, want one with %q", c, message)
	}

	others[0].Close()
	steppedUntil(t, clk, 3, &changes)
	if got := ask(healthz, "/healthz"); got != "200 OK" {
		t.Errorf("the port that is free answers %s", got)
	}
	if c := degraded(ports); strings.Contains(c.Message, healthz) || !strings.Contains(c.Message, metrics) {
		t.Errorf("status %+v, want only %s in it", c, metrics)
	}
	others[1].Close()
	steppedUntil(t, clk, 4, &changes)
	if got := ask(metrics, "/metrics"); got != "200 OK" {
		t.Errorf("the other port answers %s", got)
	}
	if c := degraded(ports); c.Status != metav1.ConditionFalse {
		t.Errorf("status %+v, want nothing wrong", c)
	}
	cancel()
	group.Wait()
	for _, address := range []string{healthz, metrics, probes} {
		await(t, "refused", func() string { return ask(address, "/") })
	}
	if n := changes.Load(); n != 4 {
		t.Errorf("%d changes, want 4", n)
	}
}

// TestLeavePort closes a port that is left to kube-proxy, and opens it again.
func TestLeavePort(t *testing.T) {
	at := Addresses{Health: freeAddress(t), Metrics: freeAddress(t)}
	clk := clocktesting.NewFakeClock(time.Now())
	h := NewHealth(NewMetrics(), clk, noTime, noTime, func() bool { return false }, func() []metav1.Condition { return nil })
	h.Set(good())
	ports := NewPorts(logr.Discard(), clk, func() {})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	if _, err := Start(ctx, at, h, ports, &group); err != nil {
		t.Fatal(err)
	}
	wants := func(healthz, metrics string) {
		t.Helper()
		await(t, [3]string{healthz, metrics, "<nil>"}, func() [3]string {
			if clk.HasWaiters() { // another program has taken the port for a moment
				clk.Step(httpserver.RetryMax)
			}
			return [3]string{ask(at.Health, "/healthz"), ask(at.Metrics, "/healthz"), fmt.Sprint(ports.Failure())}
		})
	}
	wants("200 OK", "200 OK")
	replaces := good()
	replaces.Node.Spec.KubeProxy = v1alpha1.KubeProxyTakeOver
	replaces.KubeProxy = &v1alpha1.KubeProxyStatus{Leftovers: []string{"rules"}}
	for range 2 {
		ports.Leave(at.Left(replaces)...)
		wants("200 OK", "refused")
	}
	replaces.KubeProxy = nil
	ports.Leave(at.Left(replaces)...)
	wants("200 OK", "200 OK")

	back := good()
	back.Node.Spec.KubeProxy = v1alpha1.KubeProxyGiveBack
	ports.Leave(at.Left(back)...)
	wants("refused", "refused")
	back.Rules = testNodeRules(1) // the revision is reverted
	ports.Leave(at.Left(back)...)
	wants("200 OK", "200 OK")
	back.Rules, back.Node.Spec.CleanUpSince = nil, &metav1.Time{Time: time.Unix(1000, 0)}
	ports.Leave(at.Left(back)...)
	wants("200 OK", "200 OK")
}

// steppedUntil lets time pass until so many changes have been seen.
func steppedUntil(t *testing.T, clk *clocktesting.FakeClock, changes int32, seen *atomic.Int32) {
	t.Helper()
	await(t, changes, func() int32 {
		if clk.HasWaiters() {
			clk.Step(httpserver.RetryMax)
		}
		return seen.Load()
	})
}

// degraded is what the node's status says of ports.
func degraded(ports *Ports) metav1.Condition {
	s := good().With(report.ListenFailed, ports.Failure())
	return *apimeta.FindStatusCondition(report.StatusOf(s, nil, metav1.Now()).Conditions, v1alpha1.ConditionDegraded)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestProbePortInUse ends at once: two agents on one node would hide from each other.
func TestProbePortInUse(t *testing.T) {
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = serveProbes(t.Context(), other.Addr().String(), http.NotFoundHandler(), logr.Discard())
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want that the address is in use", err)
	}
}

// TestStartFails checks that an agent whose probes cannot be served does not start, and that one
// without a port for them does.
func TestStartFails(t *testing.T) {
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	h := NewHealth(NewMetrics(), clocktesting.NewFakeClock(time.Now()), noTime, noTime, nil, nil)
	for name, c := range map[string]struct {
		probe string
		want  error
	}{
		"in use": {other.Addr().String(), syscall.EADDRINUSE},
		"none":   {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			defer group.Wait()
			defer cancel()
			failed, err := Start(ctx, Addresses{Probe: c.probe}, h, NewPorts(logr.Discard(), clocktesting.NewFakeClock(time.Now()), func() {}), &group)
			if !errors.Is(err, c.want) || (failed == nil) != (c.want != nil) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// TestPortsChange checks which results of a port are changes.
func TestPortsChange(t *testing.T) {
	inUse, denied := errors.New("in use"), errors.New("denied")
	for name, c := range map[string]struct {
		results []error // of one port
		want    int     // changes
		failure error
	}{
		"open":               {[]error{nil}, 0, nil},
		"in use":             {[]error{inUse}, 1, inUse},
		"in use on and on":   {[]error{inUse, inUse, errors.New("in use")}, 1, inUse},
		"for another reason": {[]error{inUse, denied}, 2, denied},
		"free at last":       {[]error{inUse, nil, nil}, 2, nil},
		"in use again":       {[]error{inUse, nil, inUse}, 3, inUse},
	} {
		t.Run(name, func(t *testing.T) {
			changes := 0
			p := NewPorts(logr.Discard(), clocktesting.NewFakeClock(time.Now()), func() { changes++ })
			for _, err := range c.results {
				p.set("127.0.0.1:10256", err)
			}
			if got := p.Failure(); fmt.Sprint(got) != fmt.Sprint(c.failure) || changes != c.want {
				t.Errorf("%v after %d changes, want %v after %d", got, changes, c.failure, c.want)
			}
		})
	}
}
