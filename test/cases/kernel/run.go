// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// Proxy programs the node with what a cluster holds, and returns when it is done.
type Proxy interface {
	Program(c *cases.Cluster) error
	// Restart ends the proxy's process and starts another one.
	Restart() error
	// Proxies says whether, under a cluster's policy, connections are proxied by a
	// process of the node.
	Proxies(c *cases.Cluster) bool
	// Settle returns when nothing of the last case is left that the next would meet.
	Settle() error
}

// run is a case that is being run.
type run struct {
	*Network

	servers map[string]server      // what answers, by protocol and address
	open    map[string]*connection // by the name in the case
	pins    map[string]netip.AddrPort
	sources []netip.Addr // that the node has for this case only
}

// server is what answers on a machine.
type server struct {
	io.Closer
	*machine
}

// connection is kept open over several steps.
type connection struct {
	net.Conn
	*client
}

// Run runs a case; the error is what went wrong, and what differs from the case.
func (n *Network) Run(proxy Proxy, c cases.Case) (err error) {
	r := &run{Network: n, servers: map[string]server{}, open: map[string]*connection{}, pins: map[string]netip.AddrPort{}}
	defer func() { err = errors.Join(err, r.close(), proxy.Settle()) }()
	cluster := cases.NewCluster()
	for i, step := range c.AllSteps() {
		if err := cluster.Apply(step); err != nil {
			return err
		}
		r.proxied = proxy.Proxies(cluster)
		if err := r.vacate(); err != nil {
			return err
		}
		if err := proxy.Program(cluster); err != nil {
			return err
		}
		if err := r.fade(cluster); err != nil {
			return err
		}
		if step.Restart {
			if err := errors.Join(proxy.Restart(), proxy.Program(cluster)); err != nil {
				return err
			}
		}
		if err := r.serve(cluster.Compile(), step.Flows); err != nil {
			return err
		}
		time.Sleep(time.Duration(step.IdleSeconds * float64(time.Second))) // part of the case, not a wait for a state
		if err := errors.Join(r.flows(step.Flows), r.health(step.Health)); err != nil {
			return fmt.Errorf("step %d (%s): %w", i, step.Then, err)
		}
	}
	return nil
}

func (r *run) close() error {
	var errs []error
	for _, s := range r.servers {
		errs = append(errs, s.Close())
	}
	for _, c := range r.open {
		errs = append(errs, c.Close())
	}
	for _, a := range r.sources {
		errs = append(errs, r.node.removeAddress("lo", a))
	}
	return errors.Join(append(errs, r.Forget())...)
}

// serve starts a server on every endpoint, and on all other destination addresses, so
// that an untouched packet is answered instead of refused.
func (r *run) serve(compiled cases.Compiled, flows []cases.Flow) error {
	for _, spec := range compiled.Slices {
		for _, e := range spec.Endpoints {
			for i, port := range spec.Ports {
				if e.TargetPorts[i] == 0 {
					continue
				}
				addr := netip.MustParseAddr(e.Address)
				m, err := r.at(addr)
				if err != nil {
					return err
				}
				at := netip.AddrPortFrom(addr, uint16(e.TargetPorts[i]))
				if err := r.listen(m, model.ProtocolOf(port.Protocol), at); err != nil {
					return err
				}
			}
		}
	}
	for _, f := range flows {
		for _, p := range f.Packets() {
			m, err := r.owner(p.Destination.Addr())
			if err != nil {
				return err
			}
			if m == r.node && r.proxied && f.Expect.Verdict != cases.Untouched {
				continue // the proxy listens on the port, or it must be closed
			}
			if err := r.listen(m, p.Protocol, p.Destination); err != nil {
				return err
			}
			if err := r.ownSource(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) listen(m *machine, protocol model.Protocol, at netip.AddrPort) error {
	key := protocol.String() + at.String()
	if _, there := r.servers[key]; there {
		return nil
	}
	closer, err := m.listen(protocol, at)
	for until := time.Now().Add(longest); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(until); {
		time.Sleep(20 * time.Millisecond) // a mode before has sockets there for a moment
		closer, err = m.listen(protocol, at)
	}
	if err == nil {
		r.servers[key] = server{closer, m}
	}
	return err
}

// ownSource gives the node the address that a process of it sends from, as long as
// the case runs.
func (r *run) ownSource(p cases.Packet) error {
	if p.Client != cases.FromHost || slices.Contains(cases.NodeAddresses, cases.Original(p.Source)) || p.Source.IsLoopback() || p.Source.IsUnspecified() {
		return nil
	}
	if slices.Contains(r.sources, p.Source) {
		return nil
	}
	r.sources = append(r.sources, p.Source)
	return r.node.address("lo", p.Source)
}

// flows sends the packets of a step, all at once unless they depend on each other.
func (r *run) flows(flows []cases.Flow) error {
	var mu sync.Mutex
	var errs []error
	var group sync.WaitGroup
	check := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	for _, f := range flows {
		if f.Again != "" {
			check(r.again(f))
			continue
		}
		for _, p := range f.Packets() {
			c, err := r.client(p, f.Expect.Verdict)
			switch {
			case err != nil:
				check(err)
			case f.Open != "":
				check(r.keep(c, f))
			case f.Expect.Pinned != "":
				check(r.pinned(c, f))
			default:
				group.Go(func() { check(c.check(f)) })
			}
		}
	}
	group.Wait()
	return errors.Join(errs...)
}

// check explores a flow and compares.
func (c *client) check(f cases.Flow) error {
	_, err := c.compare(f)
	return err
}

func (c *client) compare(f cases.Flow) (cases.Outcome, error) {
	o, err := c.explore(f.Expect, time.Duration(f.EverySeconds*float64(time.Second)))
	if err != nil {
		return o, err
	}
	return o, c.match(f.Expect, o)
}

// match compares an outcome with what is expected. A client that sticks to one
// endpoint meets one of those that it may meet.
func (c *client) match(want cases.Expect, o cases.Outcome) error {
	if want.Sticky && len(o.Seen) == 1 {
		for met, source := range o.Seen {
			if want.Outcome(c.packet.Source).Seen[met] == source {
				return nil
			}
		}
	}
	return want.Check(c.packet, o)
}

// pinned checks that the client meets the endpoint that it has met before.
func (r *run) pinned(c *client, f cases.Flow) error {
	o, err := c.compare(f)
	if err != nil {
		return err
	}
	return r.pin(f.Expect.Pinned, o)
}

// pin notes the endpoint that was met under a name, and compares it with the one
// that was met before.
func (r *run) pin(name string, o cases.Outcome) error {
	for met := range o.Seen {
		before, known := r.pins[name]
		if known && before != met {
			return fmt.Errorf("met %s, want %s as before", met, before)
		}
		r.pins[name] = met
	}
	return nil
}

// keep opens a connection that stays.
func (r *run) keep(c *client, f cases.Flow) error {
	conn, err := c.dial()
	if err != nil {
		return fmt.Errorf("%s: %w", c.packet, err)
	}
	r.open[f.Open] = &connection{conn, c}
	return r.once(r.open[f.Open], f.Expect, patience)
}

// again sends over an open connection until the expected result: conntrack entries are
// deleted soon after the rules have changed. It sends slowly: if an entry is deleted
// while an answer is in flight, the kernel treats the answer as a new connection, which
// the rules do not match.
func (r *run) again(f cases.Flow) error {
	c := r.open[f.Again]
	if c == nil {
		return fmt.Errorf("no flow has opened %q", f.Again)
	}
	if len(f.OutOfWindow) > 0 {
		if err := r.stray(c, f.OutOfWindow); err != nil {
			return fmt.Errorf("connection %q: %w", f.Again, err)
		}
	}
	for deadline := time.Now().Add(longest); ; {
		time.Sleep(rest)
		err := r.once(c, f.Expect, repeat)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("connection %q: %w", f.Again, err)
		}
	}
}

func (r *run) once(c *connection, want cases.Expect, timeout time.Duration) error {
	if want.Verdict == cases.Dropped {
		timeout = impatience
	}
	got, err := exchange(c.Conn, timeout)
	if err != nil {
		return err
	}
	var o cases.Outcome
	if err := c.add(&o, got); err != nil {
		return err
	}
	if err := c.match(want, o); err != nil || want.Pinned == "" {
		return err
	}
	return r.pin(want.Pinned, o)
}
