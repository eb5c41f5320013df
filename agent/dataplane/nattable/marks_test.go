// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestMarks sends packets from outside to frontends, some of which have other endpoints
// for them: those get the frontend's firewall mark. Packets to be masqueraded get that
// bit, and rejected packets get no further.
func TestMarks(t *testing.T) {
	node, outside := newSpace(t), newSpace(t)
	node.Run("ip", "link", "add", "outside", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(outside.Handle)))
	for _, args := range [][]string{{"addr", "add", "10.0.0.1/24", "dev", "outside"}, {"addr", "add", "192.0.2.7/32", "dev", "lo"}, {"link", "set", "outside", "up"}} {
		node.Run(append([]string{"ip"}, args...)...)
	}
	for _, args := range [][]string{{"addr", "add", "10.0.0.2/24", "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"route", "add", "default", "via", "10.0.0.1"}} {
		outside.Run(append([]string{"ip"}, args...)...)
	}
	d, desired := node.tables(Mark()), model.NewDesired()
	split := []model.Backend{leadTo(model.MasqueradeUnlessPod, "10.244.1.1:80", "10.244.2.1:80"), leadTo(model.MasqueradeNever, "10.244.1.1:80")}
	put(&desired, "192.0.2.7:1/udp", split...)
	put(&desired, "192.0.2.7:2/udp", leadTo(model.MasqueradeAlways, "10.244.2.1:80"))
	put(&desired, "192.0.2.7:3/udp", dropped)
	put(&desired, "nodeport:30001/udp", split...)
	put(&desired, "nodeport:30002/udp", leadTo(model.MasqueradeUnlessPod, "10.244.2.1:80"))
	desired.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	desired.Node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}
	if _, err := d.Plan(t.Context(), desired); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	mark := func(key string) uint32 { return d.Mark(at(key)) }
	if mark("192.0.2.7:1/udp") == mark("nodeport:30001/udp") || mark("192.0.2.7:2/udp") != 0 {
		t.Error("marks are shared, or not needed")
	}
	for to, want := range map[string]uint32{
		"192.0.2.7:1": mark("192.0.2.7:1/udp"), "10.0.0.1:30001": mark("nodeport:30001/udp"),
		"192.0.2.7:2": masqueradeMark, "10.0.0.1:30002": masqueradeMark, "192.0.2.7:4": 0,
	} {
		if got := node.markOf(outside, to, want, time.Minute); got != 1 {
			t.Errorf("%d packets to %s have the mark %#x, want 1", got, to, want)
		}
	}
	if got := node.markOf(outside, "192.0.2.7:3", 0, 300*time.Millisecond); got != 0 {
		t.Error("what is dropped comes through")
	}
	if got := mustSync(t, node.tables(Mark()), desired); got.Operations != 0 {
		t.Errorf("after a restart: %+v", got)
	}
	mustApply(t, d, model.Diff(desired, model.NewDesired()))
	if got := mustSync(t, node.tables(Mark()), model.NewDesired()); got.Operations != 0 {
		t.Errorf("after all are gone: %+v", got)
	}
}

// markOf counts the packets of a datagram from outside that arrive with a mark, which it waits for.
func (s *space) markOf(outside *space, to string, mark uint32, wait time.Duration) (n int) {
	s.T.Helper()
	_, port, _ := net.SplitHostPort(to)
	script := fmt.Sprintf("add table ip watch\ndelete table ip watch\ntable ip watch {\nchain input {\ntype filter hook input priority 0\n"+
		"udp dport %s meta mark %#x counter\n}\n}\n", port, mark)
	if out, err := s.Try(script, "nft", "-f", "-"); err != nil {
		s.T.Fatal(err, out)
	}
	outside.Do(func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("?"))
		return err
	})
	for deadline := time.Now().Add(wait); time.Now().Before(deadline) && n == 0; time.Sleep(10 * time.Millisecond) {
		_, count, _ := strings.Cut(s.Run("nft", "list", "chain", "ip", "watch", "input"), "packets ")
		if _, err := fmt.Sscan(count, &n); err != nil {
			s.T.Fatal(err)
		}
	}
	return n
}
