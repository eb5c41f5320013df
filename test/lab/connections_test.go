// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// answerTime is how long a Service may take to answer through a node that is emulated: packets that are lost are sent again
// until then.
const answerTime = time.Minute

// connection is an open one to a port of the echo server that answers lines.
type connection struct {
	net.Conn
	lines *bufio.Reader
}

// dial opens a connection from the client outside.
func (m *machine) dial(address string) (*connection, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	conn, err := network.DialContext(m.config.Topology().Client.NetNSPath)(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReader(conn)}, nil
}

// say sends a line and waits for the answer.
func (c *connection) say(line string) error {
	if err := c.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	_, err := c.lines.ReadString('\n')
	return err
}
