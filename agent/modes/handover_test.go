// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package modes

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	virtual = "10.96.0.1"

	// pace is how often each client connects, patience for how long it waits.
	pace     = 20 * time.Millisecond
	patience = 30 * time.Second
)

// While the engine replaces each mode by each other one, clients from outside and from the
// node connect all the time and none fails. A connection that is open goes on for as long
// as the old mode promises.
func TestHandovers(t *testing.T) {
	h := &handovers{Node: conformance.NewNode(t), kinds: map[v1alpha1.ProxyMode]dataplane.Kind{}}
	h.Serve("10.244.1.2:8080", "10.244.1.3:8080")
	modes := All()
	for i := range modes {
		h.kinds[modes[i].Name] = modes[i].Kind
		modes[i].Open = h.open(modes[i].Open)
	}
	h.agent = run(t, h.Env(), modes)
	h.agent.ask(1, v1alpha1.ModeNFTables)
	h.agent.store.NodeSynced()
	h.agent.store.ReplaceSlices(agenttest.Listed(agenttest.Web(virtual, "10.244.1.2", "10.244.1.3")), true)
	h.generation = 1
	supported := h.agent.supported(len(modes))
	// A mode that is the first one changes with each of the others and back, whatever is
	// between: so -run=TestHandovers/IPVS has all pairs with IPVS.
	slices.SortStableFunc(supported, func(a, b v1alpha1.ProxyMode) int { return cmp.Compare(h.order(a), h.order(b)) })
	h.agent.await("a mode is active", func(s v1alpha1.NodeRuleSetStatus) bool { h.mode = s.Mode; return s.Mode != "" })
	t.Log("modes: ", supported)
	h.change(supported[0])
	h.forgetClosed()
	h.clients = []*client{h.startClient(h.Outside), h.startClient(h.Space)}
	for _, to := range circuit(supported) {
		t.Run(fmt.Sprint(h.mode, " to ", to), func(t *testing.T) { h.handOver(t, to) })
		if t.Failed() {
			break
		}
	}
	total := int64(0)
	for _, c := range h.clients {
		c.stop()
		total += c.served.Load()
	}
	t.Logf("%d connections", total)
}

// circuit returns the modes in an order that begins after the first, and in which each
// ordered pair of them comes once.
func circuit(modes []v1alpha1.ProxyMode) (out []v1alpha1.ProxyMode) {
	for i := range modes {
		for _, other := range modes[i+1:] {
			out = append(out, modes[i], other)
		}
	}
	return append(out[1:], out[0])
}

// order puts load balancers, which few machines can run, before the others.
func (h *handovers) order(m v1alpha1.ProxyMode) int {
	if h.kinds[m] == dataplane.LoadBalancer {
		return 0
	}
	return 1
}

func TestCircuit(t *testing.T) {
	modes := []v1alpha1.ProxyMode{"A", "B", "C", "D", "E"}
	seen, from := map[[2]v1alpha1.ProxyMode]bool{}, modes[0]
	for _, to := range circuit(modes) {
		if from == to || seen[[2]v1alpha1.ProxyMode{from, to}] {
			t.Errorf("%s to %s once more", from, to)
		}
		seen[[2]v1alpha1.ProxyMode{from, to}], from = true, to
	}
	if want := len(modes) * (len(modes) - 1); len(seen) != want {
		t.Errorf("%d pairs, want %d", len(seen), want)
	}
}

// handovers is a node whose engine changes its mode again and again.
type handovers struct {
	*conformance.Node
	agent      *agentWith
	kinds      map[v1alpha1.ProxyMode]dataplane.Kind
	generation int64
	mode       v1alpha1.ProxyMode // active
	clients    []*client

	cleaned, waits atomic.Int64 // calls of Cleanup, and of Released that ask for time
	last           atomic.Pointer[func()]
}

// open has a Dataplane called on the node, and its last calls noted.
func (h *handovers) open(open func(dataplane.Env) (dataplane.Dataplane, error)) func(dataplane.Env) (dataplane.Dataplane, error) {
	return func(e dataplane.Env) (dataplane.Dataplane, error) {
		d, err := h.OnNode(open)(e)
		if err != nil {
			return nil, err
		}
		return &noted{d, h}, nil
	}
}

type noted struct {
	dataplane.Dataplane
	h *handovers
}

func (n *noted) Released(ctx context.Context, to dataplane.Kind, want model.Desired, o dataplane.Options) (time.Duration, error) {
	wait, err := n.Dataplane.Released(ctx, to, want, o)
	if wait > 0 {
		n.h.waits.Add(1)
	}
	return wait, err
}

func (n *noted) Cleanup(ctx context.Context) error {
	if last := n.h.last.Load(); last != nil {
		(*last)()
	}
	err := n.Dataplane.Cleanup(ctx)
	if err == nil {
		n.h.cleaned.Add(1)
	}
	return err
}

// supported waits until all modes are probed, and returns those that this kernel can run.
func (a *agentWith) supported(all int) (out []v1alpha1.ProxyMode) {
	a.await("what the kernel can do is known", func(s v1alpha1.NodeRuleSetStatus) bool {
		out = nil
		for _, c := range s.Capabilities {
			if c.Supported {
				out = append(out, c.Mode)
			}
		}
		return len(s.Capabilities) == all
	})
	return out
}

// change has the engine change the mode, and waits until the new one is active.
func (h *handovers) change(to v1alpha1.ProxyMode) {
	h.generation++
	h.agent.ask(h.generation, to)
	h.agent.await(string(to)+" is active", func(s v1alpha1.NodeRuleSetStatus) bool {
		return s.Mode == to && s.ObservedGeneration == h.generation && s.Programmed.Frontends == 1
	})
	h.mode = to
}

// forgetClosed has connection tracking forget closed connections soon. While it remembers
// thousands of masqueraded ones, it would give a connection that Userspace opens from the
// same port another one, from the moment at which it translates again.
func (h *handovers) forgetClosed() {
	if err := h.Set("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1"); err != nil {
		h.T.Fatal(err)
	}
}

// handOver replaces the active mode under connections.
func (h *handovers) handOver(t *testing.T, to v1alpha1.ProxyMode) {
	defer func(all testing.TB) { h.T, h.agent.t = all, all }(h.T)
	h.T, h.agent.t = t, t
	from := h.mode
	open := h.hold(t)
	alive := func(when string) { open.alive(t, when) }
	cut := h.kinds[from] == dataplane.LoadBalancer && h.kinds[to] == dataplane.Proxy // it meets nothing before
	h.cleaned.Store(0)
	h.waits.Store(0)
	last := func() {
		if !cut && h.kinds[from] == dataplane.NAT {
			alive("until the old mode is cleaned up")
		}
	}
	h.last.Store(&last)
	defer h.last.Store(nil)
	h.change(to)
	if !cut {
		alive("when the new mode is active")
	}
	late := h.hold(t) // it has nothing to do with the old mode
	if h.kinds[from] != dataplane.NAT && !cut {
		h.until("the old mode waits for its connections", func() bool { return h.waits.Load() >= 3 })
		if h.cleaned.Load() > 0 {
			t.Error("the old mode is cleaned up before its connections are closed")
		}
		alive("while the old mode waits")
		open.close()
	}
	h.until("the old mode is cleaned up", func() bool { return h.cleaned.Load() > 0 })
	if h.kinds[from] == dataplane.NAT && h.kinds[to] != dataplane.Proxy {
		alive("after the old mode is cleaned up")
	}
	if h.kinds[to] != dataplane.Proxy {
		late.alive(t, "opened in the new mode, after the old one is cleaned up")
	}
	for _, c := range h.clients {
		again := c.served.Load() + 2
		h.until("each client connects again", func() bool { return c.served.Load() >= again || t.Failed() })
	}
}

// until waits for something.
func (h *handovers) until(what string, so func() bool) {
	h.T.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.T.Fatal("not so in time: ", what)
		}
	}
}

// client connects again and again from a namespace.
type client struct {
	served atomic.Int64
	stop   func()
}

// startClient starts a client, for which a connection that gets no answer is a failure
// of the test.
func (h *handovers) startClient(from *netnstest.Space) *client {
	t, c := from.T, &client{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(c.stop)
	name := map[bool]string{true: "of the node", false: "from outside"}[from == h.Space]
	go func() {
		defer close(done)
		err := netdev.Do(int(from.Handle), func() error {
			ticker := time.NewTicker(pace)
			defer ticker.Stop()
			for ctx.Err() == nil {
				conn, err := connect()
				if err != nil {
					t.Errorf("a new connection %s, after %d: %v", name, c.served.Load(), err)
				} else {
					conn.Close()
				}
				c.served.Add(1)
				<-ticker.C
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}()
	return c
}

// connect connects to the Service, and reads the first line of the endpoint.
func connect() (*held, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(virtual, "80"), patience)
	if err != nil {
		return nil, err
	}
	c := &held{Conn: conn, lines: bufio.NewReader(conn)}
	if err := c.exchange(""); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// held is an open connection.
type held struct {
	net.Conn
	mu    sync.Mutex
	lines *bufio.Reader
}

// pair is an open connection from outside, and one of the node.
type pair struct{ outside, own *held }

// hold opens connections, which end with the test.
func (h *handovers) hold(t *testing.T) (p pair) {
	t.Helper()
	for space, c := range map[*netnstest.Space]**held{h.Outside: &p.outside, h.Space: &p.own} {
		err := netdev.Do(int(space.Handle), func() (err error) {
			*c, err = connect()
			return err
		})
		if err != nil {
			t.Fatal("open a connection: ", err)
		}
	}
	t.Cleanup(p.close)
	return p
}

func (p pair) close() { p.outside.Close(); p.own.Close() }

func (p pair) alive(t *testing.T, when string) {
	for name, c := range map[string]*held{"from outside": p.outside, "of the node": p.own} {
		if err := c.echo(); err != nil {
			t.Errorf("%s: the open connection %s ends: %v", when, name, err)
		}
	}
}

// echo says something, and waits until the endpoint repeats it.
func (c *held) echo() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exchange("still here?\n")
}

// exchange says something and reads a line.
func (c *held) exchange(say string) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(say)); err != nil {
		return err
	}
	_, err := c.lines.ReadString('\n')
	return err
}
