// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Each call fails once. The error is returned, and the next Sync repairs everything.
func TestErrors(t *testing.T) {
	before := mixed()
	after := mixed()
	delete(after.Frontends, clusterIP("10.96.0.2:80", model.TCP).Key)
	changed := clusterIP("10.96.0.1:53", model.TCP, "10.244.0.1:53", "10.244.0.9:53")
	after.Frontends[changed.Key] = changed
	added := clusterIP("10.96.0.9:80", model.TCP, "10.244.0.1:80")
	after.Frontends[added.Key] = added

	probe := newNode(t)
	probe.sync(before)
	steps := probe.steps
	probe.restart()
	probe.o.Scheduler = "lc"
	probe.sync(after)
	steps = append(steps, probe.steps...)
	steps = append(steps, "list", "list 10.96.0.1:53/tcp", "plan")
	for _, step := range steps {
		t.Run(strings.ReplaceAll(step, "/", " "), func(t *testing.T) {
			n := newNode(t)
			failed := false
			fail := errors.New("not this time")
			for i, d := range []model.Desired{before, after} {
				n.fail[step] = fail
				if i == 1 {
					n.o.Scheduler = "lc"
				}
				_, err := n.d.Sync(context.Background(), d, n.o)
				failed = failed || errors.Is(err, fail)
				if err != nil && !errors.Is(err, fail) {
					t.Error(err)
				}
				if _, e := n.d.Apply(context.Background(), model.Delta{}); err != nil && !errors.Is(e, dataplane.ErrNotSynced) {
					t.Errorf("Apply after an error: %v", e)
				}
				delete(n.fail, step)
				n.sync(d)
				n.unchanged(d)
			}
			if !failed && step != "add device" {
				t.Error("the error was not returned")
			}
			n.restart()
			n.unchanged(after)
			n.expectBound("10.96.0.1", "10.96.0.3", "10.96.0.9", "192.0.2.7", "fd00:96::1")
		})
	}
}

// After a Cleanup that failed, Apply asks for a Sync, whichever call has failed.
func TestCleanupFails(t *testing.T) {
	for _, step := range []string{"plan", "list", "list 10.96.0.1:53/tcp", "delete 10.96.0.1:53/tcp"} {
		t.Run(strings.ReplaceAll(step, "/", " "), func(t *testing.T) {
			n := newNode(t)
			n.sync(mixed())
			fail := errors.New("not this time")
			n.fail[step] = fail
			if err := n.d.Cleanup(context.Background()); !errors.Is(err, fail) {
				t.Errorf("Cleanup: %v, want %v", err, fail)
			}
			if _, err := n.d.Apply(context.Background(), model.Delta{}); !errors.Is(err, dataplane.ErrNotSynced) {
				t.Errorf("Apply: %v, want %v", err, dataplane.ErrNotSynced)
			}
			delete(n.fail, step)
			n.sync(mixed())
			n.unchanged(mixed())
		})
	}
}

// An endpoint that the kernel rejects does not stop others.
func TestRefusedEndpoint(t *testing.T) {
	n := newNode(t)
	bad := clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80", "10.244.0.255:80")
	good := clusterIP("10.96.0.2:80", model.TCP, "10.244.0.1:80")
	n.fail["add 10.96.0.1:80/tcp -> 10.244.0.255:80"] = unix.EINVAL
	const says = "10.96.0.1:80/tcp -> 10.244.0.255:80"
	for range 2 {
		if got := desiredtest.Unsupported(n.sync(desiredOf(bad))); !strings.HasPrefix(got, "RealServer 1 [10.96.0.1:80/tcp]: ") || !strings.Contains(got, says) {
			t.Errorf("Sync: unsupported: %s", got)
		}
	}
	if stats := n.apply(desiredOf(bad, good)); stats.Unsupported == nil {
		t.Error("the next Apply does not say so")
	}
	n.expect("10.96.0.1:80/tcp rr 10.244.0.1:80", "10.96.0.2:80/tcp rr 10.244.0.1:80")
	n.expectBound("10.96.0.1", "10.96.0.2")
	if stats := n.apply(desiredOf(good)); stats.Unsupported != nil {
		t.Errorf("Apply: unsupported: %v, which is not desired any more", stats.Unsupported)
	}
	n.apply(desiredOf(bad, good))
	clear(n.fail)
	if stats := n.sync(desiredOf(bad, good)); stats.Unsupported != nil {
		t.Errorf("Sync: unsupported: %v, which is there now", stats.Unsupported)
	}
	n.expect("10.96.0.1:80/tcp rr 10.244.0.1:80 10.244.0.255:80", "10.96.0.2:80/tcp rr 10.244.0.1:80")
}

// A virtual server that cannot be added gets no packets: they would reach a process of the
// node.
func TestNoServerNoPackets(t *testing.T) {
	n := newNode(t)
	n.fail["add 10.96.0.1:80/tcp"] = unix.ENOENT
	if _, err := n.d.Sync(context.Background(), desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80")), nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Sync: %v", err)
	}
	n.expectBound()
	if len(n.table) > 0 {
		t.Errorf("the table has %v", n.table)
	}
}

// What others have deleted in the meantime is no failure of a Sync or an Apply that deletes it.
func TestDeletedByOthers(t *testing.T) {
	const web, one = "10.96.0.1:80/tcp", "10.96.0.1:80/tcp -> 10.244.0.1:80"
	both := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80", "10.244.0.2:80"))
	second := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.2:80"))
	cases := map[string]struct {
		step  string
		errno unix.Errno
		then  model.Desired
		fails bool
	}{
		"a virtual server":                    {"delete " + web, unix.ESRCH, desiredOf(), false},
		"a virtual server, other failure":     {"delete " + web, unix.EPERM, desiredOf(), true},
		"a real server":                       {"delete " + one, unix.ENOENT, second, false},
		"a real server, and of its server":    {"delete " + one, unix.ENOENT, desiredOf(), false},
		"the virtual server of a real server": {"delete " + one, unix.ESRCH, desiredOf(), false},
		"a real server, other failure":        {"delete " + one, unix.EPERM, second, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for how, change := range map[string]func(*node) (dataplane.Result, error){
				"Sync":  func(n *node) (dataplane.Result, error) { return n.d.Sync(t.Context(), tc.then, n.o) },
				"Apply": func(n *node) (dataplane.Result, error) { return n.d.Apply(t.Context(), model.Diff(both, tc.then)) },
			} {
				n := newNode(t)
				n.sync(both)
				n.fail[tc.step] = tc.errno
				if _, err := change(n); (err != nil) != tc.fails {
					t.Errorf("%s: %v, want an error: %v", how, err, tc.fails)
				}
			}
		})
	}
}
