// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// tunnel lets programs on the host reach an address in the lab's network, which
// the host has no route to: it copies between a port on the loopback and
// connections that start in a namespace of the lab.
type tunnel struct {
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
	copies   sync.WaitGroup
}

func newTunnel(netnsPath, address string) (*tunnel, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("port on the host: %w", err)
	}
	dial := network.DialContext(netnsPath)
	return &tunnel{listener: listener, dial: func(ctx context.Context) (net.Conn, error) {
		return dial(ctx, "tcp", address)
	}}, nil
}

func (t *tunnel) address() string { return t.listener.Addr().String() }

// serve copies until ctx ends.
func (t *tunnel) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer t.copies.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { t.listener.Close() })
	defer stop()
	for {
		outside, err := t.listener.Accept()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("port on the host: %w", err)
		}
		t.copies.Go(func() { t.join(ctx, outside) })
	}
}

// join copies in both directions until both have ended. When the other side
// cannot be reached, the connection just closes, as that of a server that died.
func (t *tunnel) join(ctx context.Context, outside net.Conn) {
	defer outside.Close()
	inside, err := t.dial(ctx)
	if err != nil {
		return
	}
	defer inside.Close()
	stop := context.AfterFunc(ctx, func() {
		outside.Close()
		inside.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { pipe(inside, outside) })
	both.Go(func() { pipe(outside, inside) })
	both.Wait()
}

// pipe copies one direction and passes its end on: an error ends it as well.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
