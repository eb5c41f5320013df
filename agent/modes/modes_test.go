// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package modes

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/internal/toymode"
	"github.com/fairlead-proxy/fairlead/agent/kubeproxy"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// The one line that a new mode needs.
func init() { list = append(list, func(*shared) dataplane.Mode { return toymode.Mode() }) }

func TestModes(t *testing.T) {
	names, ranks := map[v1alpha1.ProxyMode]bool{}, map[int]bool{}
	registry := prometheus.NewRegistry()
	for _, m := range All() {
		if m.Kind < dataplane.NAT || m.Kind > dataplane.Proxy || m.Open == nil {
			t.Errorf("%s is not complete: %+v", m.Name, m)
		}
		if names[m.Name] || m.AutoRank != 0 && ranks[m.AutoRank] {
			t.Errorf("%s has the name or the rank %d of another mode", m.Name, m.AutoRank)
		}
		names[m.Name], ranks[m.AutoRank] = true, true
		if _, err := m.ParseOptions(v1alpha1.NodeRuleSetSpec{}); err != nil {
			t.Errorf("%s does not take the defaults: %v", m.Name, err)
		}
		for _, c := range m.Collectors {
			if err := registry.Register(c); err != nil {
				t.Errorf("%s: %v", m.Name, err)
			}
		}
	}
}

// TestAuto checks that all modes of the API are there, and which of them Auto tries, in order.
func TestAuto(t *testing.T) {
	got := map[v1alpha1.ProxyMode]int{}
	for _, m := range All() {
		if m.Name != toymode.Name {
			got[m.Name] = m.AutoRank
		}
	}
	if len(got) != 4 || got[v1alpha1.ModeNFTables] == 0 || got[v1alpha1.ModeNFTables] >= got[v1alpha1.ModeIPVS] ||
		got[v1alpha1.ModeIPVS] >= got[v1alpha1.ModeIPTables] || got[v1alpha1.ModeUserspace] != 0 {
		t.Errorf("got %v, want NFTables, IPVS, IPTables, and Userspace if it is asked for", got)
	}
}

// agentWith is the engine with all modes, on a node whose policy asks for one.
type agentWith struct {
	t     testing.TB
	store *source.Store
	stop  func()

	mu     sync.Mutex
	latest v1alpha1.NodeRuleSetStatus
}

func run(t *testing.T, env dataplane.Env, modes []dataplane.Mode) *agentWith {
	t.Helper()
	return restart(t, env, modes, &state.InstalledModes{})
}

// restart starts an agent on a node where an earlier one has left modes.
func restart(t *testing.T, env dataplane.Env, modes []dataplane.Mode, installed *state.InstalledModes) *agentWith {
	t.Helper()
	a := &agentWith{t: t, store: source.NewStore(time.Now)}
	journal, err := state.OpenJournal(t.TempDir(), a.store.Snapshot, a.store.Wake, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	revisions := state.OpenTrial(t.TempDir(), a.store.Wake, clock.RealClock{})
	loop := engine.New(engine.Config{
		NodeName: agenttest.TestNode, Source: a.store, Journal: journal, Trial: revisions, Installed: installed,
		Modes: modes, Env: env,
		HealthChecks: func(model.NodeSettings, resolve.HealthChecks) {},
		Flows:        noFlows{},
		Tune:         func(*v1alpha1.ConntrackOptions) error { return nil },
		KubeProxy:    kubeproxy.New(func() {}, logr.Discard(), clock.RealClock{}),
		Report: func(s report.Snapshot) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.latest = report.StatusOf(s, nil, metav1.Now())
		},
		Log: logr.Discard(), Clock: clock.RealClock{},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); loop.Run(ctx) }()
	a.stop = sync.OnceFunc(func() { cancel(); <-done; journal.Close(); revisions.Close() })
	t.Cleanup(a.stop)
	return a
}

// emptyNode is a network namespace with nothing in it.
func emptyNode(t *testing.T) dataplane.Env {
	return dataplane.Env{NetNS: int(netnstest.New(t)), Log: logr.Discard()}
}

// noFlows is a kernel that tracks none.
type noFlows struct{}

func (noFlows) Change(model.Delta) {}
func (noFlows) Programmed(bool)    {}
func (noFlows) Failure() error     { return nil }

// ask makes the policy ask for a mode.
func (a *agentWith) ask(generation int64, mode v1alpha1.ProxyMode) {
	spec := agenttest.NodeSpec()
	spec.Mode, spec.Node.Zone = mode, "a"
	// IPVS is not cleaned up while it knows open connections: one whose end it has not seen counts for 15 minutes by default.
	spec.IPVS = &v1alpha1.IPVSOptions{TCPTimeoutSeconds: 60}
	a.store.SetNode(&source.NodeRules{UID: "uid", Generation: generation, Spec: spec})
}

// await waits until the status has a value. In an emulator the first probe loads modules for many seconds.
func (a *agentWith) await(what string, says func(v1alpha1.NodeRuleSetStatus) bool) {
	a.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		a.mu.Lock()
		latest := a.latest
		a.mu.Unlock()
		if says(latest) {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: not so in the status %+v", what, latest)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A mode that is added by one line is run, reported, changed to and from, and cleaned up,
// and no other code knows it.
func TestToyMode(t *testing.T) {
	env := emptyNode(t)
	a := run(t, env, All())
	a.ask(1, toymode.Name)
	a.store.NodeSynced()
	a.store.ReplaceSlices(agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2")), true)
	in := func(mode v1alpha1.ProxyMode, generation int64) func(v1alpha1.NodeRuleSetStatus) bool {
		return func(s v1alpha1.NodeRuleSetStatus) bool {
			return s.Mode == mode && s.ObservedGeneration == generation
		}
	}
	a.await("the toy is active", in(toymode.Name, 1))
	if held := toyTable(t, env); !strings.Contains(held, "zone a") || !strings.Contains(held, "10.96.0.1") {
		t.Errorf("the kernel has %q", held)
	}
	a.await("it is among the capabilities", func(s v1alpha1.NodeRuleSetStatus) bool {
		return slices.ContainsFunc(s.Capabilities, func(c v1alpha1.ModeCapability) bool {
			return c.Mode == toymode.Name && c.Supported && c.Variant == "of wood"
		})
	})
	a.ask(2, v1alpha1.ModeNFTables)
	a.await("another mode takes over", in(v1alpha1.ModeNFTables, 2))
	a.await("the toy is cleaned up", func(v1alpha1.NodeRuleSetStatus) bool { return toyTable(t, env) == "" })
	a.ask(3, toymode.Name)
	a.await("and back", in(toymode.Name, 3))
	a.stop() // it would repair its table
	if err := Cleanup(t.Context(), All(), env); err != nil {
		t.Error(err)
	}
	if held := toyTable(t, env); held != "" {
		t.Errorf("--cleanup leaves %q", held)
	}
}

// toyTable returns what the kernel has of the toy; empty: nothing.
func toyTable(t *testing.T, env dataplane.Env) (text string) {
	netnstest.Do(t, netns.NsHandle(env.NetNS), func() error {
		out, err := exec.Command("nft", "list", "table", "ip", "toy").Output()
		if err == nil {
			text = string(out)
		}
		return nil
	})
	return text
}

// The modes that this kernel has take over from each other in one network namespace.
func TestChanges(t *testing.T) {
	a := run(t, emptyNode(t), All())
	a.ask(1, v1alpha1.ModeNFTables)
	a.store.NodeSynced()
	a.store.ReplaceSlices(agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2")), true)
	var supported []v1alpha1.ProxyMode
	a.await("what the kernel has is known", func(s v1alpha1.NodeRuleSetStatus) bool {
		supported = nil
		for _, c := range s.Capabilities {
			if c.Supported {
				supported = append(supported, c.Mode)
			}
		}
		return len(s.Capabilities) == len(All())
	})
	generation := int64(1)
	for _, from := range supported {
		for _, to := range supported {
			for _, mode := range []v1alpha1.ProxyMode{from, to} {
				generation++
				a.ask(generation, mode)
				a.await(string(from)+" to "+string(to), func(s v1alpha1.NodeRuleSetStatus) bool {
					return s.Mode == mode && s.ObservedGeneration == generation && s.Programmed.Frontends == 1
				})
			}
		}
	}
}

// A mode that the kernel does not support has nothing to clean up.
func TestCleanup(t *testing.T) {
	denied, cleaned := errors.New("operation not permitted"), 0
	open := func(err error) func(dataplane.Env) (dataplane.Dataplane, error) {
		return func(e dataplane.Env) (dataplane.Dataplane, error) {
			if err != nil {
				return nil, err
			}
			cleaned++
			return toymode.Mode().Open(e)
		}
	}
	err := Cleanup(t.Context(), []dataplane.Mode{
		{Name: "A", Open: open(dataplane.Unsupported(errors.New("no module")))}, {Name: "B", Open: open(denied)}, {Name: "C", Open: open(nil)},
	}, emptyNode(t))
	if !errors.Is(err, denied) || err.Error() != "clean up B: operation not permitted" || cleaned != 1 {
		t.Errorf("cleaned up %d modes, error %v", cleaned, err)
	}
}

// TestInherits checks which modes remove what kube-proxy leaves besides its rules.
func TestInherits(t *testing.T) {
	got := map[v1alpha1.ProxyMode]v1alpha1.KubeProxyMode{}
	for _, m := range All() {
		if m.Inherits != "" {
			got[m.Name] = m.Inherits
		}
	}
	want := map[v1alpha1.ProxyMode]v1alpha1.KubeProxyMode{v1alpha1.ModeIPVS: v1alpha1.KubeProxyIPVS}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modes that inherit (-want +got):\n%s", diff)
	}
}
