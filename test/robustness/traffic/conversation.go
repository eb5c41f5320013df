// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package traffic connects to Services of the lab: once, or many times a second under a
// bound, with a record of each connection.
package traffic

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

const (
	// dialTime has room for two retransmitted SYNs.
	dialTime = 4 * time.Second
	// answerTime is how long a connection waits for the answer to a line.
	answerTime = 4 * time.Second
)

// Conversation is an open connection to an echo server.
type Conversation struct {
	net.Conn
	in   *bufio.Reader
	said int
}

// Dial opens a connection that starts in a network namespace, within two seconds.
func Dial(netNSPath, address string) (*Conversation, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := network.DialContext(netNSPath)(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Conversation{Conn: conn, in: bufio.NewReader(conn)}, nil
}

// Say sends a line and returns the answer, which has to come within two seconds.
func (c *Conversation) Say() (string, error) { return c.say(2 * time.Second) }

func (c *Conversation) say(patience time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	c.said++
	if _, err := fmt.Fprintln(c, c.said); err != nil {
		return "", err
	}
	return c.in.ReadString('\n')
}

// Ask opens a connection, sends one line and closes it.
func Ask(netNSPath, address string) error {
	c, err := Dial(netNSPath, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Say()
	return err
}

// podOf is the Pod that an echo server's answer names.
func podOf(answer string) (string, error) {
	pod, _, ok := strings.Cut(strings.TrimPrefix(answer, "pod="), " ")
	if !ok || !strings.HasPrefix(answer, "pod=") {
		return "", fmt.Errorf("answer %q", answer)
	}
	return pod, nil
}
