// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package routelocalnet

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// node is a kernel with a sysctl and guards. It logs the calls in order.
type node struct {
	value    string
	readOnly bool
	log      []string
}

var errReadOnly = errors.New("read-only file system")

func (n *node) Get(string) (string, error) { return n.value, nil }

func (n *node) Set(_, value string) error {
	if n.readOnly {
		return errReadOnly
	}
	if value != n.value {
		n.log = append(n.log, "sysctl "+value)
	}
	n.value = value
	return nil
}

type guard struct {
	*node
	name string
	held Held
	fail error // of Make and Remove
}

func (g *guard) Read(context.Context) (Held, error) { return g.held, nil }

func (g *guard) Make(_ context.Context, _ Held, resets bool) (int, error) {
	if g.fail != nil {
		return 0, g.fail
	}
	g.log = append(g.log, map[bool]string{false: g.name + " guards", true: g.name + " guards and resets"}[resets])
	g.held = Held{Exists: true, Intact: true, Resets: resets}
	return 1, nil
}

func (g *guard) Remove(context.Context, Held) error {
	if g.fail != nil {
		return g.fail
	}
	g.log = append(g.log, g.name+" goes")
	g.held = Held{}
	return nil
}

// step is a call of a user.
type step struct {
	user string // a or b
	do   string // enable, disable, cleanup, restart (of the agent: no user is known)
	ops  int
	err  error
}

func TestOwner(t *testing.T) {
	refused := errors.New("refused")
	for name, tc := range map[string]struct {
		before   string
		readOnly bool
		fail     error
		held     map[string]Held
		steps    []step
		want     []string
		after    string
	}{
		"comes and goes": {before: "0", after: "0",
			steps: []step{{"a", "enable", 2, nil}, {"a", "enable", 0, nil}, {"a", "disable", 2, nil}, {"a", "disable", 0, nil}},
			want:  []string{"a guards and resets", "sysctl 1", "sysctl 0", "a goes"}},
		"it was 1 before": {before: "1", after: "1",
			steps: []step{{"a", "enable", 1, nil}, {"a", "disable", 1, nil}},
			want:  []string{"a guards", "a goes"}},
		"one follows the other": {before: "0", after: "0",
			steps: []step{{"a", "enable", 2, nil}, {"b", "enable", 1, nil}, {"a", "cleanup", 0, nil}, {"b", "enable", 0, nil}, {"b", "disable", 2, nil}},
			want:  []string{"a guards and resets", "sysctl 1", "b guards and resets", "a goes", "sysctl 0", "b goes"}},
		"the second one's guard knows it after a restart": {before: "0", after: "0",
			steps: []step{{"a", "enable", 2, nil}, {"b", "enable", 1, nil}, {"a", "cleanup", 0, nil}, {"", "restart", 0, nil}, {"b", "cleanup", 0, nil}},
			want:  []string{"a guards and resets", "sysctl 1", "b guards and resets", "a goes", "sysctl 0", "b goes"}},
		"a guard of an earlier version does not": {before: "1", after: "0", held: map[string]Held{"a": {true, true, true}, "b": {true, true, false}},
			steps: []step{{"b", "enable", 0, nil}, {"a", "cleanup", 0, nil}, {"b", "enable", 1, nil}, {"b", "disable", 2, nil}},
			want:  []string{"a goes", "b guards and resets", "sysctl 0", "b goes"}},
		"a user that is none goes": {before: "0", after: "1",
			steps: []step{{"a", "enable", 2, nil}, {"b", "cleanup", 0, nil}},
			want:  []string{"a guards and resets", "sysctl 1"}},
		"another program sets it back": {before: "1", after: "1", held: map[string]Held{"a": {true, true, false}},
			steps: []step{{"a", "enable", 0, nil}, {"", "sysctl 0", 0, nil}, {"a", "enable", 2, nil}},
			want:  []string{"a guards and resets", "sysctl 1"}},
		"a user is opened again": {before: "0", after: "0",
			steps: []step{{"a", "enable", 2, nil}, {"a", "reopen", 0, nil}, {"a", "enable", 0, nil}, {"a", "disable", 2, nil}},
			want:  []string{"a guards and resets", "sysctl 1", "sysctl 0", "a goes"}},
		"a guard that is not intact": {before: "1", after: "1", held: map[string]Held{"a": {true, false, true}},
			steps: []step{{"a", "enable", 1, nil}}, want: []string{"a guards and resets"}},
		"it cannot be set":      {before: "0", after: "0", readOnly: true, steps: []step{{"a", "enable", 0, errReadOnly}}},
		"it cannot be set back": {before: "1", after: "1", readOnly: true, held: map[string]Held{"a": {true, true, true}}, steps: []step{{"a", "enable", 0, nil}, {"a", "disable", 0, errReadOnly}}},
		"it is tried again": {before: "1", after: "1", readOnly: true, held: map[string]Held{"a": {true, true, true}},
			steps: []step{{"a", "disable", 0, errReadOnly}, {"a", "disable", 0, errReadOnly}}},
		"no guard": {before: "0", after: "0", fail: refused, steps: []step{{"a", "enable", 0, refused}}},
	} {
		t.Run(name, func(t *testing.T) {
			n, owner := &node{value: tc.before, readOnly: tc.readOnly}, &Owner{}
			guards := map[string]*guard{"a": {node: n, name: "a", held: tc.held["a"], fail: tc.fail}, "b": {node: n, name: "b", held: tc.held["b"], fail: tc.fail}}
			users := map[string]*User{}
			open := func() {
				for name, g := range guards {
					users[name] = owner.User(g, n)
				}
			}
			open()
			for _, s := range tc.steps {
				u, ops, err := users[s.user], 0, error(nil)
				switch s.do {
				case "enable":
					ops, err = u.Enable(t.Context())
				case "disable":
					ops, err = u.Disable(t.Context())
				case "cleanup":
					err = u.Cleanup(t.Context())
				case "restart":
					owner = &Owner{}
					open()
				case "reopen":
					u.Forget()
					open()
				case "sysctl 0":
					n.value = "0"
				}
				if ops != s.ops || !errors.Is(err, s.err) {
					t.Errorf("%s %s: %d operations, %v; want %d, %v", s.user, s.do, ops, err, s.ops, s.err)
				}
				if sysctl := errors.As(err, &SysctlError{}); sysctl != errors.Is(err, errReadOnly) {
					t.Errorf("%s %s: %v is a SysctlError: %t", s.user, s.do, err, sysctl)
				}
			}
			if diff := cmp.Diff(tc.want, n.log); diff != "" {
				t.Error(diff)
			}
			if n.value != tc.after {
				t.Errorf("the sysctl is %s, want %s", n.value, tc.after)
			}
		})
	}
}

// turns is a guard, and the sysctl, of users that must take turns.
type turns struct {
	inside *atomic.Int32
	clash  *atomic.Bool
}

func (c turns) call() {
	if c.inside.Add(1) > 1 {
		c.clash.Store(true)
	}
	runtime.Gosched()
	c.inside.Add(-1)
}

func (c turns) Get(string) (string, error) { c.call(); return "1", nil }
func (c turns) Set(string, string) error   { c.call(); return nil }

func (c turns) Read(context.Context) (Held, error) {
	c.call()
	return Held{Exists: true, Resets: true}, nil
}
func (c turns) Make(context.Context, Held, bool) (int, error) { c.call(); return 1, nil }
func (c turns) Remove(context.Context, Held) error            { c.call(); return nil }

// TestUsersTakeTurns checks that users in several goroutines, such as the modes of a handover, do not
// read and change the kernel at the same time.
func TestUsersTakeTurns(t *testing.T) {
	const users = 4
	owner, c := &Owner{}, turns{&atomic.Int32{}, &atomic.Bool{}}
	var group sync.WaitGroup
	for i := range users {
		group.Go(func() {
			u := owner.User(c, c)
			for range 200 {
				if i%2 == 0 {
					_, _ = u.Enable(t.Context())
				} else {
					_ = u.Cleanup(t.Context())
				}
			}
			u.Forget()
		})
	}
	group.Wait()
	if c.clash.Load() {
		t.Error("two users at the same time")
	}
	if len(owner.users) != 0 {
		t.Errorf("%d users are left", len(owner.users))
	}
}
