// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var errLocked = errors.New("exit status 4: another app is currently holding the xtables lock")

// TestErrors checks that after an error deltas are refused, and that the next Sync repairs
// everything.
func TestErrors(t *testing.T) {
	few, many := several(3, 2), several(30, 3)
	for name, fail := range map[string]func(m *memory, err func(bool) error){
		"writing": func(m *memory, err func(bool) error) { m.failRestore = err },
		"reading": func(m *memory, err func(bool) error) { m.failSave = err },
	} {
		for moment, from := range map[string]*model.Desired{"Sync": nil, "Apply": &few} {
			t.Run(name+" in "+moment, func(t *testing.T) {
				m := newMemory()
				d := inMemory(t, m)
				if _, err := step(d, &few, many); !errors.Is(err, dataplane.ErrNotSynced) {
					t.Errorf("before the first Sync: %v", err)
				}
				mustSync(t, d, few)
				fail(m, func(bool) error { return errLocked })
				if _, err := step(d, from, many); from != nil && name == "reading" {
					if err != nil { // a delta needs no reading
						t.Error(err)
					}
					return
				} else if !errors.Is(err, errLocked) {
					t.Errorf("got %v", err)
				}
				if _, err := step(d, &few, many); !errors.Is(err, dataplane.ErrNotSynced) {
					t.Errorf("after the error: %v", err)
				}
				fail(m, func(bool) error { return nil })
				if stats := mustSync(t, d, many); stats.Operations == 0 || stats.Repaired != 0 {
					t.Errorf("%+v", stats)
				}
				if stats := mustSync(t, inMemory(t, m), many); stats.Operations != 0 {
					t.Errorf("a new agent: %+v", stats)
				}
			})
		}
	}
}

// TestHalfAnError checks that IPv4 counts as changed if IPv6 failed.
func TestHalfAnError(t *testing.T) {
	m := newMemory()
	d := inMemory(t, m)
	mustSync(t, d, model.NewDesired())
	m.failRestore = func(v6 bool) error {
		if v6 {
			return errLocked
		}
		return nil
	}
	want := mixed()
	if _, err := d.Sync(t.Context(), want, nil); !errors.Is(err, errLocked) || !strings.Contains(err.Error(), "IPv6") {
		t.Errorf("got %v", err)
	}
	m.failRestore = func(bool) error { return nil }
	mustSync(t, d, want)
	if stats := mustSync(t, inMemory(t, m), want); stats.Operations != 0 {
		t.Errorf("a new agent: %+v", stats)
	}
}

// killed is a kernel whose program is killed after it has done its work.
type killed struct{ *memory }

func (k killed) restore(ctx context.Context, v6 bool, script io.WriterTo) error {
	return errors.Join(k.memory.restore(ctx, v6, script), context.Canceled)
}

// TestKilledAfterItsWork checks that what a killed program has done does not count as an
// external change.
func TestKilledAfterItsWork(t *testing.T) {
	m := newMemory()
	d := inMemory(t, m)
	before := several(3, 2)
	mustSync(t, d, before)
	after := before.Clone()
	for key := range after.Frontends {
		delete(after.Frontends, key)
		break
	}
	d.kernel = killed{m}
	if _, err := d.Apply(t.Context(), model.Diff(before, after)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	d.kernel = m
	if stats := mustSync(t, d, several(5, 2)); stats.Operations == 0 || stats.Repaired != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestRefusedByAProgram(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		command []string
		want    bool
	}{
		"it ends with an error":    {t.Context(), []string{"sh", "-c", "exit 4"}, true},
		"it is killed":             {t.Context(), []string{"sh", "-c", "kill -9 $$"}, false},
		"it is cancelled":          {ended, []string{"sleep", "60"}, false},
		"there is no such program": {t.Context(), []string{"/no/such/program"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := exec.CommandContext(c.ctx, c.command[0], c.command[1:]...).Run()
			if got := refused(fmt.Errorf("iptables-restore: %w", err)); err == nil || got != c.want {
				t.Errorf("%v: %v, want %v", err, got, c.want)
			}
		})
	}
}

// TestWithoutIPv6 checks that IPv4 works without IPv6.
func TestWithoutIPv6(t *testing.T) {
	m := newMemory()
	m.failTry = func(v6 bool) error {
		if v6 {
			return errors.New("no IPv6")
		}
		return nil
	}
	d := inMemory(t, m)
	if got := desiredtest.Unsupported(mustSync(t, d, mixed())); !strings.Contains(got, "IPv6 43 [[") || !strings.HasSuffix(got, ": no IPv6") {
		t.Errorf("got %v", got)
	}
	for id := range m.chains[true] {
		if strings.HasPrefix(id.name, prefix) {
			t.Errorf("IPv6 has %s", id.name)
		}
	}
	if stats := mustSync(t, d, mixed()); stats.Operations != 0 {
		t.Errorf("again: %+v", stats)
	}
}

// TestRefused checks which input is not passed to iptables-restore, and that the kernel
// keeps its rules.
func TestRefused(t *testing.T) {
	one := forwardTo(model.MasqueradeNever, "10.244.1.2:53")
	for name, change := range map[string]func(d *model.Desired){
		"no endpoint": func(d *model.Desired) {
			put(d, "x", "10.96.0.1:80/tcp", model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeNever})
		},
		"endpoint of IPv6": func(d *model.Desired) {
			put(d, "x", "10.96.0.1:80/tcp", forwardTo(model.MasqueradeNever, "[fd00::1]:80"))
		},
		"unknown masquerading": func(d *model.Desired) { put(d, "x", "10.96.0.1:80/tcp", forwardTo("Perhaps", "10.0.0.1:80")) },
		"node port with sources": func(d *model.Desired) {
			f := put(d, "x", "nodeport:30000/tcp", one)
			f.Restricted, f.Sources = true, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		},
		"source of IPv6": func(d *model.Desired) {
			f := put(d, "x", "10.96.0.1:80/tcp", one)
			f.Restricted, f.Sources = true, []netip.Prefix{netip.MustParsePrefix("fd00::/64")}
		},
		"of IPv6, with more of IPv4": func(d *model.Desired) {
			put(d, "x", "10.96.0.1:80/tcp", one)
			put(d, "y", "[fd00::1]:80/tcp", one)
		},
		"clients of IPv6":     func(d *model.Desired) { put(d, "x", "10.96.0.1:80/tcp", one).PortKey = at("[fd00::1]:80/tcp") },
		"interface too long":  func(d *model.Desired) { d.Node.PodInterface = "0123456789abcdef" },
		"interface with more": func(d *model.Desired) { d.Node.PodInterface = "a -j DROP" },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			d, want := inMemory(t, m), several(3, 2)
			mustSync(t, d, want)
			before := m.number
			bad := want.Clone()
			change(&bad)
			if _, err := d.Sync(t.Context(), bad, nil); err == nil {
				t.Error("no error")
			}
			if m.number != before {
				t.Error("the kernel was changed")
			}
			if stats := mustSync(t, d, want); stats.Operations != 0 {
				t.Errorf("after that: %+v", stats)
			}
		})
	}
}

// TestOddNames checks that a name cannot end a line or a quotation.
func TestOddNames(t *testing.T) {
	d := model.NewDesired()
	f := put(&d, "x\"\n-A INPUT -j DROP\\", "10.96.0.1:80/tcp", rejected)
	f.PortName = strings.Repeat("y", 500)
	got := comment(f)
	if diff := cmp.Diff("default/x??-A?INPUT?-j?DROP?:"+strings.Repeat("y", 171), got); diff != "" {
		t.Error(diff)
	}
}

// TestSharedChains checks which frontends of a port lead to the same chain.
func TestSharedChains(t *testing.T) {
	all := forwardTo(model.MasqueradeAlways, "10.244.1.2:53", "10.244.2.2:53")
	d := model.NewDesired()
	put(&d, "dns", "10.96.0.10:53/udp", forwardTo(model.MasqueradeUnlessPod, "10.244.1.2:53", "10.244.2.2:53"))
	put(&d, "dns", "192.0.2.1:53/udp", all)
	put(&d, "dns", "192.0.2.2:53/udp", all)
	put(&d, "dns", "nodeport:30053/udp", all)
	put(&d, "dns", "nodeport:30054/udp", forwardTo(model.MasqueradeNever, "10.244.2.2:53"))
	put(&d, "dns", "192.0.2.3:53/udp", all).AffinityTimeoutSeconds = 60
	put(&d, "dns", "192.0.2.4:53/udp", all, forwardTo(model.MasqueradeNever, "10.244.1.2:53"))
	var frontends []*model.Frontend
	for _, f := range d.Frontends {
		frontends = append(frontends, f)
	}
	r := renderPort(frontends, subset{together: 10})
	users := map[string]int{}
	for _, e := range r.entries {
		for _, to := range e {
			if to != nil {
				users[to.chain]++
			}
		}
	}
	first, sticky := at("nodeport:30053/udp"), at("192.0.2.3:53/udp")
	want := map[string]int{
		chainFor(prefixHead+"Always", first, internal):         4, // the node port and three addresses
		chainFor(prefixHead+"UnlessPod", first, internal):      1, // the cluster IP
		chainFor(prefixTo, sticky, internal):                   1,
		chainFor(prefixTo, at("192.0.2.4:53/udp"), external):   1,
		chainFor(prefixTo, at("nodeport:30054/udp"), internal): 1,
	}
	if diff := cmp.Diff(want, users); diff != "" {
		t.Error(diff)
	}
	if got := r.chains[chainFor(prefixHead+"UnlessPod", first, internal)](); !cmp.Equal(got, []string{"-j " + chainUnlessPod, "-g " + chainFor(prefixTo, first, internal)}) {
		t.Errorf("the head of the cluster IP's chain: %q", got)
	}
	if len(r.chains) != len(want)+1 { // that of the endpoints, behind the heads
		t.Errorf("%d chains", len(r.chains))
	}
}

// TestEveryEndpointGetsItsShare follows the probabilities through the rules of a chain.
func TestEveryEndpointGetsItsShare(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 10, 1000} {
		b := model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeNever}
		for i := range n {
			b.Endpoints = append(b.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)}), 80))
		}
		left := 1.0 // of all packets
		for _, rule := range endpointRules(&model.Frontend{Key: at("10.96.0.1:80/tcp")}, b.Endpoints) {
			p := 1.0
			if _, text, ok := strings.Cut(rule, "--probability "); ok {
				if _, err := fmt.Sscan(text, &p); err != nil {
					t.Fatal(err)
				}
			}
			if share := left * p * float64(n); math.Abs(share-1) > 1e-5 {
				t.Errorf("%d endpoints: %s takes %f of its share", n, rule, share)
			}
			left *= 1 - p
		}
		if left != 0 {
			t.Errorf("%d endpoints: %f of all packets are left", n, left)
		}
	}
}

// TestIPv6FailsJustNow checks that a held lock at the start does not disable IPv6 for
// good, and that missing support is not tried all the time.
func TestIPv6FailsJustNow(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		after time.Duration // it is tried again
	}{"a lock is held": {errLocked, 2 * time.Second}, "not there": {errNoIPv6, 11 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			m, clk := newMemory(), clocktesting.NewFakeClock(time.Unix(1000, 0))
			m.failTry = func(v6 bool) error {
				if v6 {
					return tc.err
				}
				return nil
			}
			d := inMemory(t, m)
			d.clock, d.ipv6 = clk, dataplane.Retry{}
			d.ipv6.Failed(clk.Now(), tc.err)
			got := mustSync(t, d, mixed())
			if transient := errors.Is(tc.err, errLocked); transient != (got.NextLook > 0) || got.NextLook > 2*time.Second {
				t.Errorf("next look after %v", got.NextLook)
			}
			m.failTry = func(bool) error { return nil }
			if got := mustSync(t, d, mixed()); got.Operations != 0 || len(got.Unsupported) == 1 {
				t.Errorf("tried too early: %+v", got)
			}
			clk.Step(tc.after)
			if got := mustSync(t, d, mixed()); got.Operations == 0 || strings.Contains(desiredtest.Unsupported(got), "IPv6 ") || got.NextLook != 0 {
				t.Errorf("tried again: %+v", got)
			}
			if stats := mustSync(t, inMemory(t, m), mixed()); stats.Operations != 0 {
				t.Errorf("a new agent: %+v", stats)
			}
		})
	}
}
