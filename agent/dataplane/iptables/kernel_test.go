// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestReadBack checks that iptables-save prints every rule exactly as we write it: correct
// rules are adopted and not touched, also by a new agent.
func TestReadBack(t *testing.T) {
	onBoth(t, func(t *testing.T, s *space) {
		d, want := s.dataplane(), mixed()
		if stats := mustSync(t, d, want); stats.Operations == 0 || stats.Repaired != 0 {
			t.Errorf("the first time: %+v", stats)
		}
		before := s.state()
		for _, f := range d.families {
			now := newHeld()
			if err := now.read(t.Context(), d.kernel, f.v6, allTables); err != nil {
				t.Fatal(err)
			}
			now.leaveOutMangle()
			for id, sum := range f.want.sums {
				if now.sums[id] != sum {
					t.Errorf("%s %s: want\n%s\nthe kernel has\n%s", f, id, strings.Join(f.want.rules(id), "\n"),
						s.Run("ip"+[]string{"", "6"}[index(f.v6)]+"tables-"+s.variant, "-t", id.table, "-S", id.name))
				}
			}
		}
		if stats := mustSync(t, d, want); stats.Operations != 0 {
			t.Errorf("again: %+v", stats)
		}
		if stats := mustSync(t, s.dataplane(), want); stats.Operations != 0 {
			t.Errorf("a new agent: %+v", stats)
		}
		if diff := cmp.Diff(before, s.state()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDeltasAndSyncAgree checks that deltas program what a new agent would have
// programmed, and that reverting them leaves nothing.
func TestDeltasAndSyncAgree(t *testing.T) {
	onBoth(t, func(t *testing.T, s *space) {
		d, empty, want := s.dataplane(), model.NewDesired(), mixed()
		mustSync(t, d, empty)
		before := s.state()
		mustApply(t, d, model.Diff(empty, want))
		if stats := mustSync(t, s.dataplane(), want); stats.Operations != 0 {
			t.Errorf("a new agent: %+v", stats)
		}
		mustApply(t, d, model.Diff(want, empty))
		if diff := cmp.Diff(before, s.state()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDrift checks that changes by others are repaired, and reported.
func TestDrift(t *testing.T) {
	web := chainFor(prefixTo, at("10.96.0.1:80/tcp"), internal)
	for name, tc := range map[string]struct {
		change   [][]string
		repaired bool
	}{
		"a chain is emptied":               {[][]string{{"-t", "nat", "-F", web}}, true},
		"a rule is added":                  {[][]string{{"-t", "nat", "-A", web, "-j", "RETURN"}}, true},
		"a rule is deleted":                {[][]string{{"-t", "nat", "-D", web, "1"}}, true},
		"a jump is deleted":                {[][]string{{"-t", "nat", "-D", "PREROUTING", "-j", chainPrerouting}}, true},
		"a jump is there twice":            {[][]string{{"-t", "nat", "-A", "PREROUTING", "-j", chainPrerouting}}, true},
		"a table is flushed":               {[][]string{{"-t", "nat", "-F"}}, true},
		"a table is flushed and emptied":   {[][]string{{"-t", "nat", "-F"}, {"-t", "nat", "-X"}}, true},
		"the filter is flushed":            {[][]string{{"-F"}, {"-X"}}, true},
		"a chain with our prefix is added": {[][]string{{"-t", "nat", "-N", prefix + "X"}}, true},
		"others have rules":                {[][]string{{"-t", "nat", "-N", "OTHER"}, {"-t", "nat", "-A", "OTHER", "-j", "RETURN"}, {"-t", "nat", "-I", "PREROUTING", "-j", "OTHER"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *space) {
				d, want := s.dataplane(), several(20, 3)
				mustSync(t, d, want)
				for _, args := range tc.change {
					s.iptables(args...)
				}
				stats := mustSync(t, d, want)
				if (stats.Repaired > 0) != tc.repaired || stats.Repaired > stats.Operations {
					t.Errorf("%+v", stats)
				}
				if stats := mustSync(t, s.dataplane(), want); stats.Operations != 0 {
					t.Errorf("a new agent: %+v", stats)
				}
			})
		})
	}
}

// TestOneChange checks that the cost of a changed endpoint does not depend on the size of
// the table: one chain, that of its Service's port.
func TestOneChange(t *testing.T) {
	onBoth(t, func(t *testing.T, s *space) {
		var costs []int
		for _, n := range []int{100, 2000} {
			d, before, after := s.dataplane(), several(n, 10), several(n, 10)
			f := put(&after, "web-42", "10.96.0.43:80/tcp", before.Frontends[at("10.96.0.43:80/tcp")].Internal)
			f.Internal.Endpoints = append(f.Internal.Endpoints[:9:9], netip.MustParseAddrPort("10.200.0.1:8080"))
			f.External = f.Internal
			mustSync(t, d, before)
			k := &scripts{kernel: d.kernel}
			d.kernel = k
			stats := mustApply(t, d, model.Diff(before, after))
			costs = append(costs, stats.Operations)
			if want := 1; strings.Count(k.last, "\n:") != want || strings.Count(k.last, "COMMIT") != 1 {
				t.Errorf("%d Services: the input is\n%s", n, k.last)
			}
			if stats := mustSync(t, s.dataplane(), after); stats.Operations != 0 {
				t.Errorf("a new agent: %+v", stats)
			}
		}
		if diff := cmp.Diff([]int{12, 12}, costs); diff != "" {
			t.Error(diff)
		}
	})
}

// scripts is a kernel that records the last input.
type scripts struct {
	kernel
	last string
}

func (k *scripts) restore(ctx context.Context, v6 bool, input io.WriterTo) error {
	var text strings.Builder
	if _, err := input.WriteTo(&text); err != nil {
		return err
	}
	k.last = text.String()
	return k.kernel.restore(ctx, v6, input)
}

// TestUnchangedIsNotReadAgain checks that the nft variant is not read back if the kernel
// says that others have changed nothing.
func TestUnchangedIsNotReadAgain(t *testing.T) {
	s := newSpace(t, variantNFT)
	d, want := s.dataplane(), mixed()
	mustSync(t, d, want)
	mustSync(t, d, want) // after the guard of the loopback has been made
	k := &reads{kernel: d.kernel}
	d.kernel = k
	mustSync(t, d, want)
	for i := range 3 {
		less := mixed()
		delete(less.Frontends, at(fmt.Sprintf("nodeport:%d/tcp", 31000+37*i)))
		mustApply(t, d, model.Diff(want, less))
		mustApply(t, d, model.Diff(less, want))
	}
	mustSync(t, d, want)
	if k.all != 0 {
		t.Errorf("read %d times", k.all)
	}
	s.iptables("-t", "nat", "-N", "OTHER")
	if stats := mustSync(t, d, want); k.all != 2 || stats.Operations != 0 {
		t.Errorf("read %d times after a change of others, want once for each family; %+v", k.all, stats)
	}
}

// reads is a kernel that counts read-backs.
type reads struct {
	kernel
	all int
}

func (k *reads) save(ctx context.Context, v6 bool, table string, line func([]byte)) error {
	if table == allTables {
		k.all++
	}
	return k.kernel.save(ctx, v6, table, line)
}

// TestProbeAndCleanup checks that neither leaves anything behind.
func TestProbeAndCleanup(t *testing.T) {
	onBoth(t, func(t *testing.T, s *space) {
		before := s.state()
		d := s.dataplane()
		found, err := d.Probe(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, s.state()); diff != "" {
			t.Errorf("Probe: %s", diff)
		}
		if want := s.variant; !strings.HasPrefix(found.Variant, want+", iptables v") {
			t.Errorf("variant %q, want %s", found.Variant, want)
		}
		if err := d.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, s.state()); diff != "" {
			t.Errorf("Cleanup where nothing is: %s", diff)
		}
		mustSync(t, d, mixed())
		if err := s.dataplane().Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := s.state(); strings.Contains(after, prefix) {
			t.Errorf("left after Cleanup:\n%s", after)
		}
		if value, err := s.Get("net/ipv4/conf/all/route_localnet"); value != "0" || err != nil {
			t.Errorf("route_localnet is %s, %v", value, err)
		}
	})
}

// TestIncompatibleTable checks that a table which iptables-save does not print is not taken
// for an empty one: nothing is added again, changes are programmed, and neither a clean-up
// nor the start of an agent succeeds until the table can be read.
func TestIncompatibleTable(t *testing.T) {
	s := newSpace(t, variantNFT)
	d, want := s.dataplane(), several(20, 3)
	mustSync(t, d, want)
	s.Run("nft", "add rule ip nat OUTPUT ct state new meter other { ip saddr limit rate 1/second }")
	stats := mustSync(t, d, want)
	if stats.Operations != 0 || !strings.Contains(desiredtest.Unsupported(stats), "ReadBack") {
		t.Errorf("Sync: %+v", stats)
	}
	if stats := mustSync(t, d, several(21, 3)); stats.Operations == 0 {
		t.Errorf("Sync with another Service: %+v", stats)
	}
	if _, err := s.dataplane().Sync(t.Context(), want, nil); !errors.Is(err, errIncompatible) {
		t.Errorf("Sync of a new agent: %v", err)
	}
	if err := s.dataplane().Cleanup(t.Context()); !errors.Is(err, errIncompatible) {
		t.Errorf("Cleanup: %v", err)
	}
	s.Run("nft", "flush chain ip nat OUTPUT")
	stats = mustSync(t, d, several(21, 3))
	if stats.Repaired == 0 || stats.Unsupported != nil {
		t.Errorf("Sync when the table can be read: %+v", stats)
	}
	if err := s.dataplane().Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := s.state(); strings.Contains(after, prefix) {
		t.Errorf("left after Cleanup:\n%s", after)
	}
}

// TestVariantChanges checks that a new agent follows the node to the other variant, and
// removes the rules of the previous agent.
func TestVariantChanges(t *testing.T) {
	for from, to := range map[string]string{variantLegacy: variantNFT, variantNFT: variantLegacy} {
		t.Run(from, func(t *testing.T) {
			s := newSpace(t, from)
			mustSync(t, s.dataplane(), mixed())
			s.iptables("-t", "mangle", "-X", "KUBE-IPTABLES-HINT")
			d := s.dataplane()
			if stats := mustSync(t, d, mixed()); stats.Operations != 0 || !strings.HasPrefix(d.variant, from) {
				t.Errorf("without a hint: %s, %+v", d.variant, stats)
			}
			s.Run("iptables-"+to, "-t", "mangle", "-N", "KUBE-KUBELET-CANARY")
			d = s.dataplane()
			if stats := mustSync(t, d, mixed()); stats.Operations == 0 || !strings.HasPrefix(d.variant, to) {
				t.Errorf("with a hint: %s, %+v", d.variant, stats)
			}
			if left := s.iptables("-t", "nat", "-S"); strings.Contains(left, prefix) {
				t.Errorf("left in the variant %s: %s", from, left)
			}
			if value, err := s.Get("net/ipv4/conf/all/route_localnet"); value != "1" || err != nil {
				t.Errorf("route_localnet is %s, %v", value, err)
			}
			if err := d.Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			if value, err := s.Get("net/ipv4/conf/all/route_localnet"); value != "0" || err != nil {
				t.Errorf("after Cleanup route_localnet is %s, %v", value, err)
			}
		})
	}
}

// TestDeepTrees checks that chains are never nested deeper than the kernel allows, even
// for addresses and ports chosen to cause that.
func TestDeepTrees(t *testing.T) {
	want := model.NewDesired()
	all, local := forwardTo(model.MasqueradeUnlessPod, "10.0.0.1:80", "10.0.0.2:80"), forwardTo(model.MasqueradeNever, "10.0.0.1:80")
	restricted := func(key string) {
		f := put(&want, key, key, all, local)
		f.Restricted, f.Sources = true, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	}
	for i := range 24 { // of digits in common, the one after them differs
		for j := range 10 {
			a := netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff").As16()
			a[15-i/2] ^= byte(j) << (4 * (i % 2))
			put(&want, fmt.Sprint(i, j), netip.AddrPortFrom(netip.AddrFrom16(a), 80).String()+"/tcp", rejected)
			b := [4]byte{199, 255, 255, 255}
			b[3-i/2%4] ^= byte(j) << (4 * (i % 2))
			restricted(netip.AddrFrom4(b).String() + ":80/tcp")
		}
	}
	for i := range 16 { // and likewise the ports
		for j := range 10 {
			restricted(fmt.Sprintf("%s:%d/tcp", "199.255.255.255", 1+uint16(0xffff<<i)^uint16(j)))
		}
	}
	onBoth(t, func(t *testing.T, s *space) {
		d := s.dataplane()
		mustSync(t, d, want)
		if stats := mustSync(t, s.dataplane(), want); stats.Operations != 0 {
			t.Errorf("a new agent: %+v", stats)
		}
		for _, f := range d.families {
			most := 0
			for _, n := range f.want.views[internal].addresses.nodes {
				most = max(most, n.depth)
			}
			if most != maxAddressDepth {
				t.Errorf("%s: %d chains for addresses, so not the case that this is about", f, most)
			}
		}
	})
}

// slowly is an input that comes in two parts.
type slowly struct {
	pause time.Duration
	parts [2]string
}

func (s slowly) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, s.parts[0])
	if err != nil {
		return int64(n), err
	}
	<-time.After(s.pause)
	more, err := io.WriteString(w, s.parts[1])
	return int64(n + more), err
}

// TestSlowInput has an input take longer than iptables-legacy may wait for its lock: the alarm for
// that must not end the input.
func TestSlowInput(t *testing.T) {
	onBoth(t, func(t *testing.T, s *space) {
		d := s.dataplane()
		mustSync(t, d, several(1, 1))
		input := slowly{1500 * time.Millisecond, [2]string{"*nat\n:FAIRLEAD-SLOW - [0:0]\n", "COMMIT\n"}}
		if err := d.kernel.restore(t.Context(), false, input); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(s.state(), "FAIRLEAD-SLOW") {
			t.Error("the chain is not there")
		}
	})
}

// TestLock checks that a lock held by another program is soon an error, and what follows.
func TestLock(t *testing.T) {
	s := newSpace(t, variantLegacy)
	d := s.dataplane()
	mustSync(t, d, several(3, 2))
	lock, err := os.OpenFile(os.Getenv("XTABLES_LOCKFILE"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Apply(t.Context(), model.Diff(several(3, 2), several(4, 2))); err == nil || !strings.Contains(err.Error(), "xtables lock") {
		t.Errorf("got %v", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	mustSync(t, d, several(4, 2))
	if stats := mustSync(t, s.dataplane(), several(4, 2)); stats.Operations != 0 {
		t.Errorf("a new agent: %+v", stats)
	}
}

// TestIPv6IsOff checks a node without IPv6, which the network namespace simulates by
// having no IPv6 address.
func TestIPv6IsOff(t *testing.T) {
	onBoth(t, func(t *testing.T, s *space) {
		s.Run("ip", "-6", "addr", "flush", "dev", "lo")
		d := s.dataplane()
		if got := desiredtest.Unsupported(mustSync(t, d, mixed())); !strings.Contains(got, errNoIPv6.Error()) {
			t.Errorf("got %v", got)
		}
		if err := d.Cleanup(t.Context()); err != nil {
			t.Error(err)
		}
		if state := s.state(); strings.Contains(state, prefix) {
			t.Error(state)
		}
	})
}
