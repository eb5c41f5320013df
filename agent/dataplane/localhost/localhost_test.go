// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// node is a kernel with a sysctl and the guards of two modes. It logs the calls in order.
type node struct {
	value    string
	readOnly bool
	log      []string
}

func (n *node) Get(string) (string, error) { return n.value, nil }

func (n *node) Set(_, value string) error {
	if n.readOnly {
		return errors.New("read-only file system")
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
	held routelocalnet.Held
}

func (g *guard) Read(context.Context) (routelocalnet.Held, error) { return g.held, nil }

func (g *guard) Make(_ context.Context, _ routelocalnet.Held, resets bool) (int, error) {
	g.log = append(g.log, g.name+" guards")
	g.held = routelocalnet.Held{Exists: true, Intact: true, Resets: resets}
	return 1, nil
}

func (g *guard) Remove(context.Context, routelocalnet.Held) error {
	g.log = append(g.log, g.name+" goes")
	g.held = routelocalnet.Held{}
	return nil
}

func TestPorts(t *testing.T) {
	type modes struct{ a, b *Ports }
	on := func(t *testing.T, n *node, p *Ports, yes bool) {
		s := model.NodeSettings{NodePortLocalhost: yes}
		if _, err := p.With(context.Background(), &s, func() (dataplane.Result, error) {
			if s.NodePortLocalhost {
				n.log = append(n.log, "rules")
			}
			return dataplane.Result{}, nil
		}); err != nil {
			t.Error(err)
		}
	}
	cleanup := func(t *testing.T, p *Ports) {
		if err := p.Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
	}
	for name, tc := range map[string]struct {
		before string
		do     func(t *testing.T, n *node, m modes)
		want   []string
		after  string
	}{
		"comes and goes": {"0", func(t *testing.T, n *node, m modes) {
			on(t, n, m.a, true)
			on(t, n, m.a, false)
		}, []string{"a guards", "sysctl 1", "rules", "sysctl 0", "a goes"}, "0"},
		"it was 1 before": {"1", func(t *testing.T, n *node, m modes) {
			on(t, n, m.a, true)
			cleanup(t, m.a)
		}, []string{"a guards", "rules", "a goes"}, "1"},
		"the mode changes, and the new one syncs again": {"0", func(t *testing.T, n *node, m modes) {
			on(t, n, m.a, true)
			on(t, n, m.b, true)
			cleanup(t, m.a)
			on(t, n, m.b, true)
			on(t, n, m.b, false)
		}, []string{"a guards", "sysctl 1", "rules", "b guards", "rules", "a goes", "rules", "sysctl 0", "b goes"}, "0"},
		"the mode changes and changes back": {"0", func(t *testing.T, n *node, m modes) {
			on(t, n, m.a, true)
			on(t, n, m.b, true)
			cleanup(t, m.a)
			on(t, n, m.a, true)
			cleanup(t, m.b)
			on(t, n, m.a, false)
		}, []string{"a guards", "sysctl 1", "rules", "b guards", "rules", "a goes", "a guards", "rules", "b goes", "sysctl 0", "a goes"}, "0"},
		"everything is cleaned up": {"0", func(t *testing.T, n *node, m modes) {
			on(t, n, m.a, true)
			cleanup(t, m.b)
			cleanup(t, m.a)
			cleanup(t, m.a)
		}, []string{"a guards", "sysctl 1", "rules", "sysctl 0", "a goes"}, "0"},
		"another program sets it back": {"0", func(t *testing.T, n *node, m modes) {
			on(t, n, m.a, true)
			n.value = "0"
			on(t, n, m.a, true)
		}, []string{"a guards", "sysctl 1", "rules", "sysctl 1", "rules"}, "1"},
		"it cannot be set": {"0", func(t *testing.T, n *node, m modes) {
			n.readOnly = true
			on(t, n, m.a, true)
			if m.a.Err() == nil {
				t.Error("no error is recorded")
			}
		}, nil, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			n, owner := &node{value: tc.before}, &routelocalnet.Owner{}
			m := modes{New(&guard{node: n, name: "a"}, n, owner), New(&guard{node: n, name: "b"}, n, owner)}
			tc.do(t, n, m)
			if diff := cmp.Diff(tc.want, n.log); diff != "" {
				t.Error(diff)
			}
			if n.value != tc.after {
				t.Errorf("the sysctl is %s, want %s", n.value, tc.after)
			}
		})
	}
}
