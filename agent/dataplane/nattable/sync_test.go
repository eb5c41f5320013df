// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestSyncAdopts(t *testing.T) {
	s := newSpace(t)
	if stats := mustSync(t, s.dataplane(), mixed()); stats.Operations == 0 || stats.Repaired != 0 {
		t.Errorf("first Sync: %+v", stats)
	}
	for name, d := range map[string]testTables{"the same": s.dataplane(), "after a restart": s.dataplane()} {
		t.Run(name, func(t *testing.T) {
			if err := d.Probe(context.Background()); err != nil {
				t.Fatal(err)
			}
			before := d.generation(t)
			for range 2 {
				if diff := cmp.Diff(dataplane.Result{}, mustSync(t, d, mixed())); diff != "" {
					t.Error(diff)
				}
			}
			if after := d.generation(t); after != before {
				t.Errorf("generation %d, was %d", after, before)
			}
		})
	}
}

// TestSyncKeepsOrder checks that a restarted agent keeps the numbers in the kernel.
func TestSyncKeepsOrder(t *testing.T) {
	s, key := newSpace(t), "10.96.0.1:80/tcp"
	d := model.NewDesired()
	put(&d, key, clusterIP("10.0.0.5:1", "10.0.0.6:1", "10.0.0.7:1"))
	first := s.dataplane()
	mustSync(t, first, d)
	next := model.NewDesired()
	put(&next, key, clusterIP("10.0.0.1:1", "10.0.0.6:1", "10.0.0.7:1"))
	if stats := mustApply(t, first, model.Diff(d, next)); stats.Operations != 2 {
		t.Errorf("one endpoint replaced: %d operations, want 2", stats.Operations)
	}
	if stats := mustSync(t, s.dataplane(), next); stats.Operations != 0 {
		t.Errorf("Sync after a restart: %d operations, want 0", stats.Operations)
	}
}

func TestOperations(t *testing.T) {
	const key = "10.96.0.1:80/tcp"
	endpoints := []string{"10.128.0.1:8080", "10.129.0.1:8080", "10.130.0.1:8080"}
	tests := map[string]struct {
		now  []string
		want int
	}{
		// A service with another number of endpoints needs a chain of its own here:
		// the chain, its rules and a jump to it.
		"added":        {append([]string{"10.1.1.1:80"}, endpoints...), 1 + 2 + 5},
		"last removed": {endpoints[:2], 1 + 2 + 5},
		"removed":      {endpoints[1:], 3 + 2 + 5},
		"replaced":     {append([]string{"10.1.1.1:80"}, endpoints[1:]...), 2},
		"all removed":  {nil, 3 + 2},
	}
	for name, tt := range tests {
		for _, size := range []int{10, 1000} {
			t.Run(fmt.Sprintf("%s of %d", name, size), func(t *testing.T) {
				s, before := newSpace(t), several(size, 3)
				d := s.dataplane()
				mustSync(t, d, before)
				after := several(size, 3)
				if put(&after, key, clusterIP(tt.now...)); tt.now == nil {
					put(&after, key, rejected)
				}
				if stats := mustApply(t, d, model.Diff(before, after)); stats.Operations != tt.want {
					t.Errorf("%d operations, want %d", stats.Operations, tt.want)
				}
				if stats := mustSync(t, d, after); stats.Operations != 0 {
					t.Errorf("Sync then: %+v", stats)
				}
			})
		}
	}
}

func TestRepair(t *testing.T) {
	tests := map[string]string{
		"element deleted":          "delete element ip fairlead services { udp . 10.96.0.10 . 53 }",
		"element changed":          "delete element ip fairlead services { udp . 10.96.0.10 . 53 }; add element ip fairlead services { udp . 10.96.0.10 . 53 : drop }",
		"endpoint deleted":         "delete element ip fairlead endpoints { tcp . 10.96.0.10 . 53 . 0 }",
		"endpoint beyond the end":  "add element ip fairlead endpoints { tcp . 10.96.0.10 . 53 . 9 : 1.2.3.4 . 5 }",
		"endpoint far beyond":      "add element ip fairlead endpoints { tcp . 10.96.0.10 . 53 . 60000 : 1.2.3.4 . 5 }",
		"foreign frontend":         "add element ip fairlead services { udp . 1.2.3.4 . 53 : drop }",
		"catch-all":                "add element ip fairlead cluster-ips { * }",
		"foreign protocol":         "add element ip fairlead nodeports { 77 . 0.0.0.0 . 53 : drop }",
		"node port among others":   "add element ip fairlead services { tcp . 0.0.0.0 . 77 : drop }",
		"address of a node port":   "add element ip fairlead nodeports { tcp . 1.2.3.4 . 77 : drop }",
		"foreign hairpin":          "add element ip fairlead hairpin { 10.0.0.1 . 10.0.0.2 }",
		"no port":                  "delete element ip fairlead ports { udp . 0.0.0.0 . 30053 }",
		"foreign port":             "add element ip fairlead ports { 77 . 1.2.3.4 . 53 : 77 . 10.96.0.10 . 53 . 0 }",
		"port of protocol":         "add element ip fairlead ports { udp . 1.2.3.4 . 53 : tcp . 10.96.0.10 . 53 . 0 }",
		"port of nowhere":          "add element ip fairlead ports-external { udp . 10.96.0.10 . 53 : udp . 1.2.3.4 . 53 . 1 }",
		"other masquerading":       "delete element ip fairlead ports { udp . 0.0.0.0 . 30053 }; add element ip fairlead ports { udp . 0.0.0.0 . 30053 : udp . 10.96.0.10 . 53 . 1 }",
		"no way to masquerade":     "add element ip fairlead ports { udp . 1.2.3.4 . 53 : udp . 10.96.0.10 . 53 . 77 }",
		"not spread":               "delete element ip fairlead spread { udp . 10.96.0.10 . 53 }",
		"spread otherwise":         "add element ip fairlead spread-local { udp . 10.96.0.10 . 53 : drop }",
		"choice deleted":           "delete element ip fairlead affinity-choices { udp . 10.96.0.10 . 53 . 0 }",
		"foreign choice":           "add element ip fairlead affinity-choices { udp . 1.2.3.4 . 53 . 0 : udp . 1.2.3.4 . 53 }",
		"choice of protocol":       "add element ip fairlead affinity-choices { udp . 10.96.0.10 . 53 . 2 : tcp . 1.2.3.4 . 53 }",
		"sticky endpoint deleted":  "delete element ip6 fairlead affinity-endpoints { fd00:96::10 . 53 . udp . fd00:244::2 . 53 }",
		"foreign sticky endpoint":  "add element ip fairlead affinity-endpoints { 10.96.0.10 . 53 . udp . 1.2.3.4 . 53 }",
		"lying sticky endpoint":    "add element ip fairlead affinity-endpoints { 10.96.0.10 . 53 . tcp . 1.2.3.4 . 53 }",
		"endpoint beside affinity": "add element ip fairlead endpoints { udp . 10.96.0.10 . 53 . 0 : 1.2.3.4 . 53 }",
		"no longer restricted":     "delete element ip fairlead restricted { tcp . 192.0.2.7 . 443 }",
		"foreign restricted":       "add element ip fairlead restricted { tcp . 1.2.3.4 . 443 }",
		"node port is open":        "delete element ip fairlead restricted { udp . 0.0.0.0 . 30053 }",
		"node port is restricted":  "add element ip6 fairlead restricted { tcp . :: . 77 }",
		"source of a node port":    "add element ip fairlead sources-8 { udp . 0.0.0.0 . 30053 . 10.0.0.0 }",
		"node ports open":          "flush chain ip fairlead check-nodeport-sources",
		"source deleted":           "delete element ip fairlead sources-8 { tcp . 192.0.2.7 . 443 . 10.0.0.0 }",
		"source added":             "add element ip fairlead sources-8 { tcp . 192.0.2.7 . 443 . 11.0.0.0 }",
		"source of no frontend":    "add element ip6 fairlead sources-0 { tcp . fd00::77 . 443 . :: }",
		"source with host bits":    "add element ip fairlead sources-8 { tcp . 192.0.2.7 . 443 . 10.0.0.1 }",
		"set of sources emptied":   "flush set ip fairlead sources-8",
		"unused set of sources":    "add set ip fairlead sources-9 { type inet_proto . ipv4_addr . inet_service . ipv4_addr; }",
		"foreign set of sources":   "add set ip fairlead sources-9 { type ipv4_addr; }",
		"sources opened":           "insert rule ip fairlead check-sources return",
		"address deleted":          "delete element ip6 fairlead nodeport-addresses { fd00::2 }",
		"rules flushed":            "flush chain ip fairlead frontends",
		"rule inserted":            "insert rule ip fairlead prerouting accept",
		"rule added":               "add rule ip6 fairlead cluster-3-affinity-10800 drop",
		"base chain deleted":       "flush chain ip fairlead output; delete chain ip fairlead output",
		"range of Services open":   "flush chain ip fairlead unused-cluster-ips",
		"without a guard":          "flush chain ip fairlead frontends; delete chain ip fairlead unused-cluster-ips",
		"localhost closed":         "flush chain ip fairlead nodeports-on-localhost",
		"foreign chain":            "add chain ip fairlead mine; add rule ip fairlead output jump mine",
		"foreign service chain":    "add chain ip fairlead cluster-77",
		"foreign set":              "add set ip fairlead mine { type ipv4_addr; }",
		"dormant":                  "add table ip fairlead { flags dormant; }",
		"flush ruleset":            "flush ruleset",
		"table deleted":            "delete table ip6 fairlead",
		"another layout version":   `delete table ip fairlead; add table ip fairlead { comment "layout 0"; }`,
		"chain elsewhere": "flush chain ip fairlead output; delete chain ip fairlead output;" +
			" add chain ip fairlead output { type nat hook input priority 100; }",
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			d := s.dataplane()
			mustSync(t, d, mixed())
			want := d.dumpForTest(t)
			if out, err := s.Try(strings.ReplaceAll(script, "; ", "\n"), "nft", "-f", "-"); err != nil {
				t.Fatal(err, out)
			}
			stats := mustSync(t, d, mixed())
			if stats.Operations == 0 || stats.Repaired != stats.Operations {
				t.Errorf("%+v", stats)
			}
			if diff := cmp.Diff(want, d.dumpForTest(t)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(dataplane.Result{}, mustSync(t, d, mixed())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRuleWithSameCommentIsFound checks that not only the comment is compared.
func TestRuleWithSameCommentIsFound(t *testing.T) {
	s := newSpace(t)
	d := s.dataplane()
	mustSync(t, d, mixed())
	listed := s.Run("nft", "list", "chain", "ip", "fairlead", "frontends")
	edited := strings.Replace(listed, "@cluster-ips goto look-again", "@hairpin-edited", 1)
	edited = strings.Replace(edited, "ip daddr @hairpin-edited", "ip saddr @cluster-ips goto look-again", 1)
	if edited == listed {
		t.Fatal("nothing edited:", listed)
	}
	if out, err := s.Try("flush chain ip fairlead frontends\n"+edited, "nft", "-f", "-"); err != nil {
		t.Fatal(err, out)
	}
	if stats := mustSync(t, d, mixed()); stats.Repaired == 0 {
		t.Errorf("%+v", stats)
	}
}

// TestSyncReadsOnlyWhenOthersChanged checks that the kernel's tables are read if others
// have committed anything, and only then.
func TestSyncReadsOnlyWhenOthersChanged(t *testing.T) {
	s := newSpace(t)
	d, now := s.dataplane(), mixed()
	mustSync(t, d, now)
	next := several(3, 3)
	next.Node.NodePortLocalhost = true // its guard is another table
	mustApply(t, d, model.Diff(now, next))
	known := func() bool {
		t.Helper()
		now, err := d.Client.Generation(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return d.gen.Is(now)
	}
	if !known() {
		t.Error("our own commits count as those of others")
	}
	// A Sync that does not read does not find external changes.
	read := d.content[d.layouts[0]]
	mustSync(t, d, next)
	if d.content[d.layouts[0]] != read {
		t.Error("Sync has read although others have changed nothing")
	}
	if stats := mustSync(t, d, now); stats.Operations == 0 || stats.Repaired != 0 {
		t.Errorf("Sync of something else: %+v", stats)
	}
	fresh := newSpace(t).dataplane()
	mustSync(t, fresh, now)
	if diff := cmp.Diff(fresh.dumpForTest(t), d.dumpForTest(t)); diff != "" {
		t.Error(diff)
	}
	s.Run("nft", "add", "table", "ip", "other")
	mustSync(t, d, now)
	if d.content[d.layouts[0]] == read || !known() {
		t.Error("Sync has not read although others have changed something")
	}
	s.Run("nft", "delete", "table", "ip", "other")
	mustApply(t, d, model.Delta{ClusterIPs: model.AddrChanges{Added: []netip.Addr{netip.MustParseAddr("10.96.9.9")}}})
	if known() {
		t.Error("a commit of others before our own was not noticed")
	}
}

func TestApplyNeedsSync(t *testing.T) {
	d := newSpace(t).dataplane()
	if _, err := d.Apply(context.Background(), model.Delta{}); !errors.Is(err, dataplane.ErrNotSynced) {
		t.Errorf("before Sync: %v", err)
	}
	mustSync(t, d, model.NewDesired())
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Apply(cancelled, model.Diff(model.NewDesired(), mixed())); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := d.Apply(context.Background(), model.Delta{}); !errors.Is(err, dataplane.ErrNotSynced) {
		t.Errorf("after an error: %v", err)
	}
	mustSync(t, d, mixed())
	if stats := mustSync(t, d, mixed()); stats.Operations != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestErrorsNameTheObject(t *testing.T) {
	s := newSpace(t)
	d := s.dataplane()
	before := model.NewDesired()
	put(&before, "10.96.0.1:80/tcp", clusterIP("10.0.0.1:80"))
	mustSync(t, d, before)
	s.Run("nft", "delete", "element", "ip", "fairlead", "services", "{ tcp . 10.96.0.1 . 80 }")
	_, err := d.Apply(context.Background(), model.Diff(before, model.NewDesired()))
	if err == nil || !strings.Contains(err.Error(), "delete elements from ip fairlead set services") {
		t.Errorf("%v", err)
	}
}

func TestProbeAndCleanupLeaveNothing(t *testing.T) {
	s := newSpace(t)
	d := s.dataplane()
	s.Run("nft", "add", "table", "ip", "other")
	if err := d.Probe(context.Background()); err != nil {
		t.Fatal(err)
	}
	const untouched = "table ip other {\n}\n"
	if diff := cmp.Diff(untouched, s.Run("nft", "list", "ruleset")); diff != "" {
		t.Error("after Probe:", diff)
	}
	mustSync(t, d, mixed())
	for range 2 {
		if err := d.Cleanup(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(untouched, s.Run("nft", "list", "ruleset")); diff != "" {
		t.Error("after Cleanup:", diff)
	}
}

func TestNodePortAddressesFollowTheNode(t *testing.T) {
	s := newSpace(t)
	s.Run("ip", "addr", "add", "10.1.0.1/24", "dev", "lo")
	d, desired := s.dataplane(), model.NewDesired()
	desired.Node.NodePortCIDRs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd00::/8")}
	mustSync(t, d, desired)
	s.Run("ip", "addr", "add", "10.1.0.2/24", "dev", "lo")
	s.Run("ip", "addr", "add", "fd00::9/64", "dev", "lo", "nodad")
	if diff := cmp.Diff(dataplane.Result{Operations: 2}, mustSync(t, d, desired)); diff != "" {
		t.Error(diff)
	}
	var got []string
	for _, line := range d.dumpForTest(t) {
		if _, addr, ok := strings.Cut(line, "set nodeport-addresses "); ok {
			got = append(got, addr)
		}
	}
	if diff := cmp.Diff([]string{"10.1.0.1", "10.1.0.2", "fd00::9"}, got); diff != "" {
		t.Error(diff)
	}
	if stats := mustSync(t, d, desired); stats.Operations != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestSyncAmongOthersChanges reads back while others change the ruleset all the time,
// which interrupts the kernel's dumps.
func TestSyncAmongOthersChanges(t *testing.T) {
	s, desired := newSpace(t), several(300, 5)
	d := s.dataplane()
	mustSync(t, d, desired)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				if out, err := s.Try("add table ip other\ndelete table ip other", "nft", "-f", "-"); err != nil {
					t.Error(err, out)
				}
			}
		}
	}()
	for range 20 {
		stats, err := d.Sync(context.Background(), desired)
		if err != nil && !errors.Is(err, unix.EINTR) || stats.Operations != 0 {
			t.Errorf("%+v %v", stats, err)
		}
	}
	close(stop)
	<-done
}
