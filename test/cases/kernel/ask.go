// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// rest is how long a client sends nothing over a connection.
const rest = 100 * time.Millisecond

// client sends the packets of a flow from a machine.
type client struct {
	*machine
	proxied bool
	packet  cases.Packet
	timeout time.Duration
}

func (n *Network) client(p cases.Packet, want cases.Verdict) (*client, error) {
	c := &client{machine: n.node, proxied: n.proxied, packet: p, timeout: patience}
	if want == cases.Dropped {
		c.timeout = impatience
	}
	if p.Client == cases.FromHost {
		return c, nil
	}
	var err error
	c.machine, err = n.at(p.Source)
	return c, err
}

// dial opens a connection.
func (c *client) dial() (conn net.Conn, err error) {
	p := c.packet
	from, to := netip.AddrPortFrom(p.Source, 0), p.Destination
	err = c.do(func() (err error) {
		switch p.Protocol {
		case model.SCTP:
			conn, err = dialSCTP(p.Source, to)
		case model.UDP:
			conn, err = dialUDP(p.Source, to)
		default:
			dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: c.timeout}
			conn, err = dialer.Dial("tcp", to.String())
		}
		return err
	})
	return conn, err
}

// The kernel's range of ephemeral ports.
const firstPort, ports = 32768, 28232

var lastPort atomic.Uint32

// dialUDP takes each source port in turn: conntrack remembers the flows of a mode before,
// and one of the kernel's choice may be that of such a flow.
func dialUDP(from netip.Addr, to netip.AddrPort) (conn net.Conn, err error) {
	for range 10 {
		port := uint16(firstPort + lastPort.Add(1)%ports)
		conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, port)), net.UDPAddrFromAddrPort(to))
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return conn, err
}

// reply is what came back: the endpoint that answered and the client that it saw,
// or the verdict that none did.
type reply struct {
	verdict          cases.Verdict
	endpoint, client netip.AddrPort
}

// ask opens a connection and asks once.
func (c *client) ask() (reply, error) {
	conn, err := c.dial()
	if err != nil {
		return silence(err)
	}
	defer conn.Close()
	return exchange(conn, c.timeout)
}

func exchange(conn net.Conn, timeout time.Duration) (reply, error) {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return reply{}, err
	}
	// A packet of the node itself that is refused or dropped fails with EPERM,
	// because the kernel drops it while it is being sent. The refusal follows.
	if _, err := conn.Write([]byte("?")); err != nil && !errors.Is(err, unix.EPERM) {
		return silence(err)
	}
	b := make([]byte, 256)
	n, err := conn.Read(b)
	if err != nil {
		return silence(err)
	}
	endpoint, seen, _ := strings.Cut(string(b[:n]), " ")
	r := reply{verdict: cases.Forwarded}
	if r.endpoint, err = netip.ParseAddrPort(endpoint); err != nil {
		return reply{}, err
	}
	r.client, err = netip.ParseAddrPort(seen)
	return r, err
}

func silence(err error) (reply, error) {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EPROTO): // of ICMP
		return reply{verdict: cases.Refused}, nil
	case errors.Is(err, unix.EINVAL): // a process of the node sends into a blackhole
		return reply{verdict: cases.Dropped}, nil
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return reply{verdict: cases.Dropped}, nil
	}
	return reply{}, fmt.Errorf("neither an answer nor a refusal: %w", err)
}

// add adds a reply to what is known of a flow.
func (c *client) add(o *cases.Outcome, r reply) error {
	verdict := r.verdict
	if verdict == cases.Forwarded && r.endpoint == c.packet.Destination && r.client.Addr() == c.packet.Source {
		verdict = cases.Untouched
	}
	if o.Verdict != "" && o.Verdict != verdict {
		return fmt.Errorf("%s: first %s, then %s", c.packet, o, verdict)
	}
	o.Verdict = verdict
	if verdict != cases.Forwarded {
		return nil
	}
	source := c.source(r.client.Addr())
	if before, known := o.Seen[r.endpoint]; known && before != source {
		return fmt.Errorf("%s: %s first saw the source %s, then %s", c.packet, r.endpoint, before, source)
	}
	if o.Seen == nil {
		o.Seen = map[netip.AddrPort]cases.Source{}
	}
	o.Seen[r.endpoint] = source
	return nil
}

// source says whose address it is that an endpoint has seen.
func (c *client) source(seen netip.Addr) cases.Source {
	node := linkAddress
	if c.proxied {
		node = cases.NodeAddress
	}
	switch {
	case cases.Original(seen) == node:
		return cases.Masqueraded
	case seen == c.packet.Source:
		return cases.Kept
	}
	return cases.Source("from " + seen.String())
}

const (
	// silent is the number of requests where no answer is expected. A dropped packet
	// costs a timeout.
	silent = 3
	// perEndpoint is the number of requests for each possible endpoint: the
	// probability to miss an unexpected one is e^-8.
	perEndpoint = 8
	// tooOften is the maximum number of requests.
	tooOften = 400
)

// explore sends requests until everything expected has been seen, and enough to see
// what is unexpected.
func (c *client) explore(want cases.Expect, pause time.Duration) (cases.Outcome, error) {
	atLeast, atMost := silent, silent
	switch {
	case want.Verdict == cases.Dropped:
		atLeast, atMost = 1, 1
	case pause > 0 && want.Sticky:
		atLeast, atMost = 4, 4
	case pause > 0:
		atLeast, atMost = 2, 16
	case want.Sticky:
		atLeast, atMost = perEndpoint, perEndpoint
	case want.Verdict == cases.Forwarded:
		atLeast, atMost = perEndpoint*(len(want.Endpoints)+1), tooOften
	}
	var o cases.Outcome
	for i := range atMost {
		if i >= atLeast && want.Check(c.packet, o) == nil {
			break
		}
		if i > 0 && pause > 0 {
			time.Sleep(pause) // the client does nothing for so long: not a wait for a state
		}
		r, err := c.ask()
		if err != nil {
			return o, fmt.Errorf("%s: %w", c.packet, err)
		}
		if err := c.add(&o, r); err != nil {
			return o, err
		}
		if o.Verdict != want.Verdict {
			break
		}
	}
	return o, nil
}
