// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A node without IPv6 has everything else, and reports what is missing.
func testWithoutIPv6(t *testing.T, s Subject) {
	n := s.node(t)
	n.Serve("10.244.1.2:8080", "10.244.1.3:8080")
	open := s.WithoutIPv6
	if open == nil {
		open = s.Mode().Open
		for _, which := range []string{"default", "all"} {
			if err := n.Set("net/ipv6/conf/"+which+"/disable_ipv6", "1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := n.Dump()
	d, want, only4 := n.Open(open), Everything(), Everything()
	var missing []model.FrontendKey
	for key := range want.Frontends {
		if key.Address.Is6() {
			missing = append(missing, key)
			delete(only4.Frontends, key)
			delete(only4.ClusterIPs, key.Address)
		}
	}
	slices.SortFunc(missing, model.FrontendKey.Compare)
	reports := func(what string, result dataplane.Result) {
		t.Helper()
		for _, l := range result.Unsupported {
			if l.Reason == dataplane.ReasonIPv6 {
				var services []string
				for _, id := range l.Services {
					services = append(services, id.String())
				}
				if l.Count != len(missing) || !slices.Equal(l.Frontends, missing[:min(dataplane.MaxNamed, len(missing))]) {
					t.Errorf("%s names %v of %d, want %v", what, l.Frontends, l.Count, missing)
				}
				same(t, what+" names the Services", []string{"default/dns (IPv6)", "default/none (IPv6)", "default/web (IPv6)"}, services)
				return
			}
		}
		t.Errorf("%s does not say that IPv6 is missing: %v", what, result.Unsupported)
	}
	reports("Sync", synced(t, d, want))
	n.wantServed()
	if _, reported := limits(t, apply(t, d, want, only4))[dataplane.ReasonIPv6]; reported {
		t.Error("without Services of IPv6 it is still said to be missing")
	}
	reports("Apply", apply(t, d, only4, want))
	n.wantServed()
	closed(t, d)
	d = n.Open(open)
	s.adopted(t, d, want)
	reports("a new agent", synced(t, d, want))
	cleanUp(t, d)
	n.wantDump("left after Cleanup", before, &s)
}

// External changes are noticed, counted and undone; objects of others are left alone.
func testRepairs(t *testing.T, s Subject) {
	n := s.node(t)
	n.Serve(podEndpoints...)
	want := Everything()
	d := s.start(n)
	synced(t, d, want)
	changes := watch(t, d)
	n.addOthers("others")
	programmed := n.Dump()
	if result := synced(t, d, want); result.Operations != 0 || result.Repaired != 0 {
		t.Errorf("what others do for themselves is undone: %+v", result)
	}
	sameDump(t, "things of others change", programmed, n.Dump())
	for name, damage := range s.Damages {
		t.Run(name, func(t *testing.T) {
			noticed := damage.Unnoticed != ""
			for range 10 { // Watch may not have begun before the first
				changes.drain()
				n.damage(t, damage)
				if !noticed && changes.soon() {
					noticed = true
				}
				if found, can := s.inspected(t, n, want); can && found != (damage.Uninspected == "") {
					t.Errorf("an inspection finds it: %v", found)
				}
				if result := repaired(t, d, want); result.Repaired == 0 {
					t.Errorf("no repair is counted: %+v", result)
				}
				sameDump(t, "after the repair", programmed, n.Dump())
				if noticed || t.Failed() {
					break
				}
			}
			if !noticed {
				t.Error("Watch does not notice it")
			}
			if again := synced(t, d, want); again.Operations != 0 || again.Repaired != 0 {
				t.Errorf("another Sync: %+v", again)
			}
			if found, _ := s.inspected(t, n, want); found {
				t.Error("an inspection finds something after the repair")
			}
			n.wantServed()
		})
	}
	n.damage(t, firstOf(s.Damages)) // and the next agent repairs it, but counts only its own
	closed(t, d)
	d = s.start(n)
	if result := synced(t, d, want); result.Operations == 0 || result.Repaired != 0 {
		t.Errorf("a new agent: %+v", result)
	}
	sameDump(t, "after the repair by a new agent", programmed, n.Dump())
}

// inspected says whether an inspection by another agent finds a difference, if the mode can be inspected. It
// must not change the kernel.
func (s *Subject) inspected(t *testing.T, n *Node, want model.Desired) (found, can bool) {
	t.Helper()
	d := s.start(n)
	defer closed(t, d)
	inspector, can := d.(dataplane.Inspector)
	if !can {
		return false, false
	}
	before := n.Dump()
	out, err := inspector.Inspect(t.Context(), want, dataplane.Look{Shows: func(*model.Frontend) bool { return true }})
	if err != nil {
		t.Fatal("Inspect:", err)
	}
	sameDump(t, "an inspection changes the kernel", before, n.Dump())
	if unequal := slices.ContainsFunc(out.Frontends, func(f inspection.Frontend) bool { return !f.Equal }); unequal && len(out.Differences) == 0 {
		t.Errorf("nothing differs, but not all frontends are equal: %+v", out.Frontends)
	}
	return len(out.Differences) > 0, true
}

// A change that is applied between an external change and its repair, or that fails because
// of it, does not hide the repair.
func testRepairsAfterChange(t *testing.T, s Subject) {
	n := s.node(t)
	n.Serve(podEndpoints...)
	want := Everything()
	d := s.start(n)
	synced(t, d, want)
	for name, to := range map[string]model.Desired{
		"an endpoint changes": withEndpoint(want, "web", "10.244.1.4:8080"), "a Service goes": without(want, "dns"), "a Service comes": withAnother(want),
	} {
		for damaged, damage := range s.Damages {
			t.Run(damaged+", "+name, func(t *testing.T) {
				n.Run("sh", "-ec", damage.Command)
				result, err := d.Apply(t.Context(), model.Diff(want, to))
				if result.Repaired == 0 {
					result = repaired(t, d, to)
				}
				if result.Repaired == 0 {
					t.Errorf("no repair is counted: %+v; the change: %v", result, err)
				}
				if again := synced(t, d, to); again.Operations != 0 || again.Repaired != 0 {
					t.Errorf("another Sync: %+v", again)
				}
				apply(t, d, to, want)
				n.wantServed()
			})
		}
	}
}

// lookPatience is how long a mode may take to look at everything in steps. The pause after a step
// follows from how long it took: IPVS waits twenty times as long, on a machine that stalled, too.
const lookPatience = 2 * time.Minute

// repaired returns the result of the first Sync that repairs something. A mode may ask for
// a later Sync (NextLook).
func repaired(t *testing.T, d dataplane.Dataplane, want model.Desired) dataplane.Result {
	t.Helper()
	for deadline := time.Now().Add(lookPatience); ; {
		result := synced(t, d, want)
		if result.Repaired > 0 || result.NextLook == 0 || time.Now().After(deadline) {
			return result
		}
		time.Sleep(min(result.NextLook, time.Until(deadline)))
	}
}

// damage makes an external change, which must be visible.
func (n *Node) damage(t *testing.T, damage Damage) {
	t.Helper()
	before := n.Dump()
	n.Run("sh", "-ec", damage.Command)
	if slices.Equal(before, n.Dump()) {
		t.Fatal("the damage is none:", damage.Command)
	}
}

func firstOf(all map[string]Damage) Damage {
	var names []string
	for name := range all {
		names = append(names, name)
	}
	return all[slices.MinFunc(names, strings.Compare)]
}

// notifications are those of Watch.
type notifications chan struct{}

// watch has a Dataplane watch until the test ends.
func watch(t *testing.T, d dataplane.Dataplane) notifications {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(notifications, 1), make(chan error, 1)
	go func() {
		done <- d.Watch(ctx, func() {
			select {
			case changes <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Watch:", err)
		}
	})
	return changes
}

func (c notifications) drain() {
	select {
	case <-c:
	default:
	}
}

// soon says whether there is a notification.
func (c notifications) soon() bool {
	select {
	case <-c:
		return true
	case <-time.After(2 * impatience):
		return false
	}
}
