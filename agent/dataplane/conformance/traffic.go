// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// Serve answers on addresses of Pods, TCP and UDP: with a line of its own address and the
// client's, and then with what it receives.
func (n *Node) Serve(addresses ...string) {
	n.T.Helper()
	for _, a := range addresses {
		n.Pods.Do(func() error {
			l, err := net.Listen("tcp", a)
			if err != nil {
				return err
			}
			u, err := net.ListenPacket("udp", a)
			if err != nil {
				return err
			}
			n.T.Cleanup(func() { l.Close(); u.Close() })
			go serveTCP(l)
			go serveUDP(u, a)
			return nil
		})
	}
}

func serveTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			fmt.Fprintf(conn, "%s %s\n", conn.LocalAddr(), conn.RemoteAddr())
			for b := make([]byte, 64); ; {
				size, err := conn.Read(b)
				if err != nil {
					return
				}
				if _, err := conn.Write(b[:size]); err != nil {
					return
				}
			}
		}()
	}
}

func serveUDP(u net.PacketConn, name string) {
	for b := make([]byte, 64); ; {
		_, from, err := u.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = u.WriteTo([]byte(name+" "+from.String()+"\n"), from)
		}
	}
}

// Dial connects from a namespace; the connection ends with the test.
func (n *Node) Dial(from *netnstest.Space, network, to string, wait time.Duration) (conn net.Conn, err error) {
	n.T.Helper()
	from.Do(func() error {
		conn, err = (&net.Dialer{Timeout: wait}).Dial(network, to)
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.T.Cleanup(func() { conn.Close() })
	return conn, conn.SetDeadline(time.Now().Add(wait))
}

// Ask returns which endpoint answers.
func (n *Node) Ask(from *netnstest.Space, network, to string) (endpoint string, err error) {
	n.T.Helper()
	return n.ask(from, network, to, patience)
}

func (n *Node) ask(from *netnstest.Space, network, to string, wait time.Duration) (string, error) {
	n.T.Helper()
	conn, err := n.Dial(from, network, to, wait)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if network == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return "", err
		}
	}
	return firstLine(conn)
}

// firstLine returns the endpoint that sends the first line.
func firstLine(conn net.Conn) (string, error) {
	line, err := bufio.NewReaderSize(conn, 64).ReadString('\n')
	endpoint, _, _ := strings.Cut(line, " ")
	return endpoint, err
}

// answer is what a client meets.
type answer string

const (
	served  answer = "served"
	refused answer = "refused"
	silence answer = "silence"
)

// meet asks some times and returns what the clients meet, and which endpoints.
func (n *Node) meet(from *netnstest.Space, network, to string, times int, want answer) (answer, map[string]bool) {
	n.T.Helper()
	wait := patience
	if want == silence {
		wait = impatience
	}
	got, endpoints := answer(""), map[string]bool{}
	for range times {
		endpoint, err := n.ask(from, network, to, wait)
		var timeout net.Error
		now := served
		switch {
		case err == nil:
			endpoints[endpoint] = true
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EPERM): // EPERM: of the node's own packet
			now = refused
		case errors.As(err, &timeout) && timeout.Timeout():
			now = silence
		default:
			now = answer(err.Error())
		}
		if got == "" || now != want {
			got = now
		}
	}
	return got, endpoints
}
