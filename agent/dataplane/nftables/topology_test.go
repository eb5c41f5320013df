// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// topology is a node with three Pods, another node's Pods, and a machine outside.
//
//	pod-a 10.244.1.2, pod-b .3, client .4 --- node --- remote 10.244.2.2
//	                              192.168.0.2  |
//	                                        outside 203.0.113.2
//
// pod-a, pod-b and remote answer on port 8080 with their name and the source
// address that they see.
type topology struct {
	node, podA, podB, client, remote, outside *space
}

// family are the addresses of the topology in an address family.
type family struct {
	name, flag                             string
	gateway, podA, podB, client            string
	link, linkRemote, remote, node, public string
	outside                                string
}

var families = []family{
	{"IPv4", "-4", "10.244.1.1", "10.244.1.2", "10.244.1.3", "10.244.1.4",
		"10.0.0.1", "10.0.0.2", "10.244.2.2", "192.168.0.2", "203.0.113.1", "203.0.113.2"},
	{"IPv6", "-6", "fd00:244:1::1", "fd00:244:1::2", "fd00:244:1::3", "fd00:244:1::4",
		"fd00:1::1", "fd00:1::2", "fd00:244:2::2", "fd00:2::2", "2001:db8::1", "2001:db8::2"},
}

func (f family) bits() string {
	if f.name == "IPv4" {
		return "32"
	}
	return "128"
}

func newTopology(t *testing.T) *topology {
	t.Helper()
	o := &topology{newSpace(t), newSpace(t), newSpace(t), newSpace(t), newSpace(t), newSpace(t)}
	o.node.Do(func() error {
		for name, value := range map[string]string{
			"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1",
			// Send more often than the kernel would answer.
			"ipv4/icmp_ratemask": "0", "ipv6/icmp/ratemask": "\n",
		} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
	for name, s := range map[string]*space{"pod-a": o.podA, "pod-b": o.podB, "client": o.client, "remote": o.remote, "outside": o.outside} {
		o.node.Run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", s.path())
		o.node.Run("ip", "link", "set", name, "up")
		s.Run("ip", "link", "set", "eth0", "up")
	}
	for _, f := range families {
		o.address(f)
	}
	for name, s := range map[string]*space{"pod-a": o.podA, "pod-b": o.podB, "remote": o.remote} {
		s.serve(name)
	}
	return o
}

// path is a file that stands for the namespace in other programs.
func (s *space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.Handle)) }

func (o *topology) address(f family) {
	ip := func(s *space, args ...string) { s.Run(append([]string{"ip", f.flag}, args...)...) }
	add := func(s *space, addr, dev string) {
		args := []string{"addr", "add", addr + "/" + f.bits(), "dev", dev}
		if f.name == "IPv6" {
			args = append(args, "nodad")
		}
		ip(s, args...)
	}
	peer := func(name string, s *space, here, there, source string) {
		add(o.node, here, name)
		add(s, there, "eth0")
		ip(o.node, "route", "add", there, "dev", name, "src", here)
		ip(s, "route", "add", here, "dev", "eth0", "src", source)
		ip(s, "route", "add", "default", "via", here, "dev", "eth0", "src", source)
	}
	add(o.remote, f.remote, "lo")
	peer("pod-a", o.podA, f.gateway, f.podA, f.podA)
	peer("pod-b", o.podB, f.gateway, f.podB, f.podB)
	peer("client", o.client, f.gateway, f.client, f.client)
	peer("remote", o.remote, f.link, f.linkRemote, f.remote)
	peer("outside", o.outside, f.public, f.outside, f.outside)
	ip(o.node, "route", "add", f.remote, "via", f.linkRemote, "dev", "remote", "src", f.link)
	add(o.node, f.node, "lo")
	ip(o.node, "route", "add", "default", "via", f.outside, "dev", "outside")
}

// serve answers every message on port 8080, TCP and UDP, until the test ends.
func (s *space) serve(name string) {
	s.Do(func() error {
		l, err := net.Listen("tcp", ":8080")
		if err != nil {
			return err
		}
		s.T.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					for b := make([]byte, 16); ; {
						if _, err := c.Read(b); err != nil {
							return
						}
						fmt.Fprint(c, answer(name, c.RemoteAddr()))
					}
				}()
			}
		}()
		u, err := net.ListenPacket("udp", ":8080")
		if err != nil {
			return err
		}
		s.T.Cleanup(func() { u.Close() })
		go func() {
			for b := make([]byte, 16); ; {
				_, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				u.WriteTo([]byte(answer(name, from)), from)
			}
		}()
		return nil
	})
}

func answer(name string, from net.Addr) string {
	ap := netip.MustParseAddrPort(from.String())
	return name + " sees " + ap.Addr().Unmap().String()
}

// patience is how long a client waits for an expected answer, impatience for an unexpected
// one.
const (
	patience   = 30 * time.Second
	impatience = 300 * time.Millisecond
)

// dial connects from the namespace.
func (s *space) dial(network, addr string, timeout time.Duration) (c net.Conn, failed error) {
	s.T.Helper()
	s.Do(func() error {
		c, failed = net.DialTimeout(network, addr, timeout)
		return nil
	})
	return c, failed
}

// ask returns the answer of the server; or "refused", "no answer".
func (s *space) ask(network, addr string, timeout time.Duration) string {
	s.T.Helper()
	c, err := s.dial(network, addr, timeout)
	if err != nil {
		return outcome("", err)
	}
	defer c.Close()
	return outcome(exchange(c, timeout))
}

func exchange(c net.Conn, timeout time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	// A datagram of the node itself that is rejected or dropped fails with EPERM, because
	// the kernel drops it while it is being sent. The ICMP error follows.
	if _, err := c.Write([]byte("?")); err != nil && !errors.Is(err, unix.EPERM) {
		return "", err
	}
	b := make([]byte, 64)
	n, err := c.Read(b)
	return string(b[:n]), err
}

func outcome(said string, err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return said
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	}
	return err.Error()
}

// askOften asks until almost certainly every possible answer has been seen.
func (s *space) askOften(network, addr string, timeout time.Duration) string {
	s.T.Helper()
	var said []string
	for range 30 {
		a := s.ask(network, addr, timeout)
		if !slices.Contains(said, a) {
			said = append(said, a)
		}
		if a == "no answer" || a == "refused" && network == "udp" {
			break // do not wait 30 times, and the kernel sends few ICMP errors
		}
	}
	slices.Sort(said)
	return strings.Join(said, ", ")
}
