// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/conntracktest"
)

func openEvents(t *testing.T, s *conntracktest.Space, selection Selection) *Events {
	t.Helper()
	e, err := OpenEvents(int(s.Handle), s, selection)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// send opens a flow, from an address or any (empty).
func send(t *testing.T, s *conntracktest.Space, network, from, to string) (client netip.AddrPort) {
	t.Helper()
	s.Do(func() error {
		dialer := net.Dialer{}
		if from != "" {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
		}
		conn, err := dialer.Dial(network, to)
		if err != nil {
			return err
		}
		defer conn.Close()
		if network == "udp" {
			client = conn.LocalAddr().(*net.UDPAddr).AddrPort()
			_, err = conn.Write([]byte("?"))
		} else {
			client = conn.LocalAddr().(*net.TCPAddr).AddrPort()
		}
		return err
	})
	return client
}

// The kernel itself must select: only the kernel spends time on an event that is not of interest.
func TestTheKernelSelects(t *testing.T) {
	const vip, vip6 = "10.96.0.10:53", "[fd00::10]:53"
	s := conntracktest.NewSpace(t)
	s.Translate("ip daddr { 10.96.0.10, 10.96.0.11 } udp dport { 53, 54 } dnat ip to 10.1.0.1:5353", "ip6 daddr { fd00::10, fd00::11 } udp dport { 53, 54 } dnat ip6 to [fd00::1]:5353",
		"ip daddr 10.96.0.10 tcp dport 53 dnat ip to 10.1.0.1:8080", "ip daddr 10.96.0.12 udp dport 53 dnat ip to 10.96.0.12:5353")
	s.Accept("10.1.0.1:8080")
	s.Accept("10.1.0.2:8080")
	for _, at := range []string{"10.1.0.1:5353", "10.96.0.12:5353", "[fd00::1]:5353"} {
		s.Serve(at)
	}
	udp := func(address string) Destination {
		to := netip.MustParseAddrPort(address)
		return Destination{Protocol: unix.IPPROTO_UDP, Address: to.Addr(), Port: to.Port()}
	}
	var many []Destination
	for range maxSelected + 1 {
		many = append(many, udp("10.96.0.99:1"))
	}
	all := []string{"udp " + vip, "udp 10.96.0.10:54", "udp 10.96.0.11:53", "udp 10.96.0.12:53", "udp 10.96.0.10:53 from 10.7.0.1", "tcp " + vip,
		"udp " + vip6, "udp [fd00::11]:53", "udp [fd00::10]:53 from fd00::1"}
	for name, tc := range map[string]struct {
		selection Selection
		want      []string
		received  int // 0: what is wanted
	}{
		"all":                       {Selection{}, all, 0},
		"no destination":            {Selection{Destinations: []Destination{}}, nil, 0},
		"an address":                {Selection{Destinations: []Destination{udp(vip)}}, []string{all[0], all[4]}, 0},
		"addresses":                 {Selection{Destinations: []Destination{udp("10.96.0.11:53"), udp("10.96.0.10:54"), udp(vip6)}}, []string{all[1], all[2], all[6], all[8]}, 0},
		"every address":             {Selection{Destinations: []Destination{udp("0.0.0.0:54")}}, []string{all[1]}, 0},
		"another protocol":          {Selection{Destinations: []Destination{{Protocol: unix.IPPROTO_TCP, Address: netip.MustParseAddr("10.96.0.10"), Port: 53}}}, []string{all[5]}, 0},
		"clients":                   {Selection{Clients: []netip.Addr{netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("fd00::1")}}, []string{all[4], all[8]}, 0},
		"a client, and a place":     {Selection{Clients: []netip.Addr{netip.MustParseAddr("10.7.0.1")}, Destinations: []Destination{udp(vip)}}, []string{all[4]}, 0},
		"a client, not to a place":  {Selection{Clients: []netip.Addr{netip.MustParseAddr("10.7.0.1")}, Destinations: []Destination{udp(vip6)}}, nil, 0},
		"more than the program has": {Selection{Destinations: many}, all, len(all)},
	} {
		t.Run(name, func(t *testing.T) {
			e := openEvents(t, s, tc.selection)
			for range 20 {
				for _, flow := range []string{"udp 10.1.0.1:5353", "tcp 10.1.0.2:8080", "udp [fd00::1]:5353"} { // untranslated
					openFlow(t, s, flow)
				}
			}
			var want []Entry
			for _, flow := range all {
				if entry := openFlow(t, s, flow); slices.Contains(tc.want, flow) {
					want = append(want, entry)
				}
			}
			got := e.untilMarked(t, s, "10.7.0.99", vip)
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("flows (-want +got):\n%s", diff)
			}
			if tc.received == 0 {
				tc.received = len(want)
			}
			if e.received != tc.received+1 {
				t.Errorf("%d messages were received for %d flows", e.received-1, tc.received)
			}
		})
	}
}

// openFlow opens for example "udp 10.96.0.10:53 from 10.7.0.1", and returns the entry that the rules of TestTheKernelSelects make of it.
func openFlow(t *testing.T, s *conntracktest.Space, flow string) Entry {
	t.Helper()
	network, to, from := cut(flow)
	client := send(t, s, network, from, to)
	e := Entry{Protocol: unix.IPPROTO_UDP, Source: client, Destination: netip.MustParseAddrPort(to), Seen: client, Unanswered: true,
		Endpoint: netip.MustParseAddrPort("10.1.0.1:5353")}
	switch {
	case network == "tcp":
		e.Protocol, e.Endpoint = unix.IPPROTO_TCP, netip.MustParseAddrPort("10.1.0.1:8080")
	case e.Destination.Addr().Is6():
		e.Endpoint = netip.MustParseAddrPort("[fd00::1]:5353")
	case to == "10.96.0.12:53":
		e.Endpoint = netip.MustParseAddrPort("10.96.0.12:5353")
	}
	return e
}

// untilMarked returns the flows that have been reported. A last one, from an address that no other comes from, says
// that there are no more.
func (e *Events) untilMarked(t *testing.T, s *conntracktest.Space, from, to string) (got []Entry) {
	t.Helper()
	mark := netip.MustParseAddr(from)
	if err := e.Select(Selection{Clients: []netip.Addr{mark}}); err != nil {
		t.Fatal(err)
	}
	send(t, s, "udp", from, to)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	err := e.Follow(ctx, func(entry Entry) {
		if entry.Source.Addr() == mark {
			stop()
			return
		}
		entry.Name = Name{}
		got = append(got, entry)
	}, func(dropped uint32) error {
		if dropped != 0 {
			return errors.New("some were dropped")
		}
		return nil
	})
	if err != nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal("the last flow was not reported", err)
	}
	return got
}

// cut parses for example "udp 10.96.0.10:53 from 10.7.0.1".
func cut(text string) (network, to, from string) {
	network, to, _ = strings.Cut(text, " ")
	to, from, _ = strings.Cut(to, " from ")
	return network, to, from
}

// TestLost checks that what the kernel could not report is counted, to the last flow.
func TestLost(t *testing.T) {
	const flows = 40000
	s := conntracktest.NewSpace(t)
	s.Translate("ip daddr 10.96.0.0/16 udp dport 53 dnat ip to 10.1.0.1:5353")
	e := openEvents(t, s, Selection{})
	s.Do(func() error {
		sink, err := net.ListenPacket("udp", "10.1.0.1:5353") // never read
		if err != nil {
			return err
		}
		t.Cleanup(func() { sink.Close() })
		conn, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		for i := range flows {
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 53)
			if _, err := conn.WriteToUDPAddrPort([]byte("?"), to); err != nil {
				return err
			}
		}
		return nil
	})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	seen, last := 0, netip.AddrPort{}
	var lost uint32
	err := e.Follow(ctx, func(entry Entry) {
		if entry.Source == last { // it goes on after a loss
			stop()
			return
		}
		seen++
	}, func(dropped uint32) error {
		if lost = dropped; seen+int(lost) >= flows && !last.IsValid() {
			last = send(t, s, "udp", "10.7.0.1", "10.96.255.255:53")
		}
		return nil
	})
	if err != nil || seen == 0 || lost == 0 || seen+int(lost) != flows || !last.IsValid() || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("%d flows were seen and %d lost, of %d; one after them, of %s: %v, error %v", seen, lost, flows, last, ctx.Err(), err)
	}
}

// TestNoEvents checks that a kernel that reports nothing is no kernel without connections.
func TestNoEvents(t *testing.T) {
	for value, want := range map[string]string{
		"":  "the kernel reports no new connections: it is built without CONFIG_NF_CONNTRACK_EVENTS, or does not track connections",
		"0": "the kernel reports no new connections: the sysctl net.netfilter.nf_conntrack_events is 0",
	} {
		tree := fakeTree(t)
		if value != "" {
			if err := os.WriteFile(filepath.Join(tree.Root, eventsName), []byte(value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenEvents(0, tree, Selection{}); !errors.Is(err, ErrNoEvents) || err.Error() != want {
			t.Errorf("%q: %v", value, err)
		}
	}
}
