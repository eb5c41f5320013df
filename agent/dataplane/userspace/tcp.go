// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

const (
	// dialTries is how many endpoints are tried for a client, each for dialTimeout, in
	// which the kernel sends its first packet twice.
	dialTries   = 4
	dialTimeout = 2500 * time.Millisecond

	// portTries is how many connections are opened to an endpoint until one keeps its port.
	portTries = 8
)

// keepAlive detects, within four minutes, that a peer is gone without closing: otherwise
// its connection would stay open for ever.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Minute, Interval: 30 * time.Second, Count: 4}

// proxy serves the clients of all sockets.
type proxy struct {
	netns   int
	open    *Connections
	changed func() // called when a socket is broken
	udp     udpTimeouts

	tracking *tracking

	// isOurs says whether one of our sockets is at an endpoint's address: proxying to it
	// could loop.
	isOurs func(place) bool
}

// tcpListener accepts the connections to a place.
type tcpListener struct {
	*net.TCPListener
	*proxy
	*balancer
	at     place
	failed atomic.Bool
}

func (p *proxy) serveTCP(conn *net.TCPListener, at place, b *balancer) *tcpListener {
	l := &tcpListener{TCPListener: conn, proxy: p, balancer: b, at: at}
	go l.serve()
	return l
}

// keep does nothing: open connections go on.
func (l *tcpListener) keep([]model.Endpoint) {}

func (l *tcpListener) broken() bool { return l.failed.Load() }

func (l *tcpListener) serve() {
	defer l.open.releaseSocket()
	pause := pauseMin
	for {
		conn, err := l.AcceptTCP()
		switch {
		case err == nil:
			pause = pauseMin
			go l.handle(conn)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, unix.EINVAL): // another process has shut the socket down
			l.failed.Store(true)
			l.changed()
			return
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			l.open.exhausted()
		}
		// Until then the client waits in the accept queue.
		time.Sleep(pause)
		pause = min(2*pause, pauseMax)
	}
}

// handle connects a client to an endpoint, and returns when both have closed.
func (l *tcpListener) handle(conn *net.TCPConn) {
	from, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok { // it is closed already
		reset(conn)
		return
	}
	client := client{address: from.AddrPort().Addr().Unmap(), link: arrival(conn)}
	c := &connection{netip.AddrPortFrom(client.address, uint16(from.Port)), netip.AddrPortFrom(l.at.Address, l.at.Port)}
	if !l.open.admit(c, l.service()) {
		reset(conn)
		return
	}
	defer l.open.release(c)
	l.tracking.arrived(*c)
	// The filter of the listening socket has accepted the client.
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = attach(int(fd), nil) })
	}
	endpoint, err := l.dial(client)
	if err != nil {
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			l.open.exhausted()
		}
		reset(conn)
		return
	}
	to := toEndpoint(endpoint)
	l.open.leads(c, to)
	l.open.flows.Report(observation.Flow{Protocol: model.TCP, Client: c.client, Destination: c.local, Endpoint: to.local})
	relay(conn, endpoint)
}

// errNoEndpoint says that all endpoints for this client have been tried.
var errNoEndpoint = errors.New("no endpoint")

// dial connects to an endpoint for a client. An endpoint that does not answer is skipped:
// for the client the connection is open already, and it would see it closed.
func (l *tcpListener) dial(c client) (*net.TCPConn, error) {
	var tried []model.Endpoint
	last := errNoEndpoint
	for range dialTries {
		endpoint, ok := l.choose(c, tried)
		if !ok {
			return nil, last
		}
		tried = append(tried, endpoint)
		if l.isOurs(placeOf(endpoint)) {
			continue
		}
		conn, err := l.connect(endpoint)
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

// connect connects to an endpoint, from a port that the kernel does not change. If connection
// tracking begins between the packets of the handshake, it may change the port of the last one, which
// the endpoint answers with a reset. No data has been sent, so connect once more: then all
// packets are tracked.
func (p *proxy) connect(to netip.AddrPort) (out *net.TCPConn, err error) {
	err = netdev.Do(p.netns, func() error {
		var tried []*net.TCPConn
		defer func() { // not before: the kernel would choose their ports again
			for _, conn := range tried {
				reset(conn)
			}
		}()
		dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepAlive}
		for again := p.tracking.expected(); ; {
			conn, err := dialer.Dial("tcp", to.String())
			switch {
			case again && errors.Is(err, unix.ECONNRESET):
				again = false
				continue
			case err != nil:
				return err
			}
			last := conn.(*net.TCPConn)
			changed := p.tracking.changesPort(toEndpoint(last))
			switch {
			case again && isReset(last):
				again = false
				reset(last)
			case changed && len(tried) < portTries-1:
				tried = append(tried, last)
			default:
				out = last
				return nil
			}
		}
	})
	return out, err
}

// isReset says whether the peer has reset a connection.
func isReset(conn *net.TCPConn) (yes bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		failed, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		yes = err == nil && unix.Errno(failed) == unix.ECONNRESET
	})
	return yes
}
