// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// listen answers at an address of a machine: each message with the address that it
// came to and the one that it came from. It returns what closes the server.
func (m *machine) listen(protocol model.Protocol, at netip.AddrPort) (io.Closer, error) {
	var closer io.Closer
	err := m.do(func() (err error) {
		switch protocol {
		case model.TCP:
			closer, err = serveTCP(at)
		case model.UDP:
			closer, err = serveUDP(at)
		case model.SCTP:
			closer, err = serveSCTP(at)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", protocol, err)
	}
	return closer, nil
}

func answer(to, from netip.AddrPort) []byte { return []byte(to.String() + " " + from.String()) }

func serveTCP(at netip.AddrPort) (io.Closer, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go answerTCP(conn, at)
		}
	}()
	return l, nil
}

func answerTCP(conn *net.TCPConn, at netip.AddrPort) {
	defer conn.Close()
	from := netip.MustParseAddrPort(conn.RemoteAddr().String())
	for message := make([]byte, 16); ; {
		if _, err := conn.Read(message); err != nil {
			return
		}
		if _, err := conn.Write(answer(at, from)); err != nil {
			return
		}
	}
}

func serveUDP(at netip.AddrPort) (io.Closer, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	go func() {
		for message := make([]byte, 16); ; {
			_, from, err := conn.ReadFromUDPAddrPort(message)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil { // else: an earlier answer was refused
				from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
				_, _ = conn.WriteToUDPAddrPort(answer(at, from), from) // the client counts
			}
		}
	}()
	return conn, nil
}
