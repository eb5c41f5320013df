// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// variants are the programs of iptables.
var variants = []string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"}

// Rules of other programs, and of kube-proxy with a Service, for iptables-restore. VIP, ENDPOINT and
// NET stand for addresses.
const (
	foreignRules = `*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m comment --comment "kube-router -j KUBE-SERVICES" -j KUBE-ROUTER-INPUT
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
COMMIT
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:FAIRLEAD-SERVICES - [0:0]
:KUBE-MARK-DROP - [0:0]
:KUBE-SVC-MINE - [0:0]
-A PREROUTING -j FAIRLEAD-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
COMMIT
`
	iptablesRules = `*mangle
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:KUBE-PROXY-CANARY - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-I INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*nat
:KUBE-PROXY-CANARY - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SVC-ABCDEFGHIJKLMNOP - [0:0]
:KUBE-SEP-ABCDEFGHIJ234567 - [0:0]
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -d VIP -p tcp -m tcp --dport 80 -j KUBE-SVC-ABCDEFGHIJKLMNOP
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-ABCDEFGHIJKLMNOP ! -s NET -d VIP -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-ABCDEFGHIJKLMNOP -j KUBE-SEP-ABCDEFGHIJ234567
-A KUBE-SEP-ABCDEFGHIJ234567 -p tcp -m tcp -j DNAT --to-destination ENDPOINT
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE
COMMIT
`
	ipvsRules = `*filter
:KUBE-IPVS-FILTER - [0:0]
:KUBE-IPVS-OUT-FILTER - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-SOURCE-RANGES-FIREWALL - [0:0]
-I INPUT -j KUBE-IPVS-FILTER
-I INPUT -j KUBE-NODE-PORT
-I OUTPUT -j KUBE-IPVS-OUT-FILTER
-A KUBE-IPVS-FILTER -m set --match-set PREFIX-CLUSTER-IP dst,dst -j RETURN
COMMIT
*nat
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-I PREROUTING -j KUBE-SERVICES
-I POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -m set --match-set PREFIX-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
`
	nftablesRules = `table FAMILY kube-proxy {
	chain services { type nat hook output priority -100; FAMILY daddr VIP tcp dport 80 dnat to ENDPOINT; }
}
`
)

// rulesOf fills rules in for a program of iptables.
func rulesOf(rules, program string) string {
	if strings.HasPrefix(program, "ip6") {
		return strings.NewReplacer("VIP", "fd00:96::1", "ENDPOINT", "[fd00:1::1]:8080", "NET", "fd00:244::/64", "FAMILY", "ip6", "PREFIX", "KUBE-6").Replace(rules)
	}
	return strings.NewReplacer("VIP", "10.96.0.1", "ENDPOINT", "10.0.0.1:8080", "NET", "10.244.0.0/16", "FAMILY", "ip", "PREFIX", "KUBE").Replace(rules)
}

// dump returns all rules, chains and sets of a namespace, but for the chains of the kernel.
func dump(space *netnstest.Space) (all []string) {
	for _, program := range variants {
		table := ""
		for line := range strings.Lines(space.Run(program + "-save")) {
			switch line = strings.TrimSpace(line); {
			case strings.HasPrefix(line, "*"):
				table = line
			case strings.HasPrefix(line, "-A "), strings.HasPrefix(line, ":") && strings.Contains(line, " - ["):
				line, _, _ = strings.Cut(line, " [")
				all = append(all, program+" "+table+" "+line)
			}
		}
	}
	for line := range strings.Lines(space.Run("nft", "list", "tables")) {
		if !strings.HasSuffix(line, "filter\n") && !strings.HasSuffix(line, "mangle\n") && !strings.HasSuffix(line, "nat\n") {
			all = append(all, line)
		}
	}
	space.Do(func() error {
		sets, err := netlink.IpsetListAll()
		for _, set := range sets {
			all = append(all, "set "+set.SetName)
		}
		return err
	})
	slices.Sort(all)
	return all
}

// TestRemove checks that everything of kube-proxy goes, and nothing else. The rules of kube-proxy
// itself are in the cases' oracle.
func TestRemove(t *testing.T) {
	ownLock(t)
	for name, c := range map[string]struct {
		rules   func(*netnstest.Space) // of kube-proxy
		foreign func(*netnstest.Space) // beside those that are always there
	}{
		"nothing": {rules: func(*netnstest.Space) {}},
		"nftables": {rules: func(s *netnstest.Space) {
			s.Feed(rulesOf(nftablesRules, "ip"), "nft", "-f", "-")
			s.Feed(rulesOf(nftablesRules, "ip6"), "nft", "-f", "-")
		}, foreign: func(s *netnstest.Space) { s.Run("nft", "add", "table", "inet", "kube-proxy") }},
		"iptables": {rules: func(s *netnstest.Space) { feedAll(s, iptablesRules) }},
		"ipvs": {rules: func(s *netnstest.Space) {
			for _, set := range []string{"CLUSTER-IP", "LOAD-BALANCER", "NODE-PORT-TCP", "LOOP-BACK", "HEALTH-CHECK-NODE-PORT"} {
				addSet(s, "KUBE-"+set, unix.NFPROTO_IPV4)
				addSet(s, "KUBE-6-"+set, unix.NFPROTO_IPV6)
			}
			addSet(s, "KUBE-LOAD-BALANCER-SOURCE-CIDR", unix.NFPROTO_IPV4)
			addSet(s, "KUBE-6-LOAD-BALANCER-SOURCE-CID", unix.NFPROTO_IPV6) // no name is longer
			feedAll(s, ipvsRules)
		}, foreign: func(s *netnstest.Space) { addSet(s, "KUBE-ROUTER", unix.NFPROTO_IPV4) }},
		"a mode after the other": {rules: func(s *netnstest.Space) {
			s.Feed(rulesOf(nftablesRules, "ip"), "nft", "-f", "-")
			feedAll(s, iptablesRules)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			space := netnstest.NewSpace(t)
			feedAll(space, foreignRules)
			if c.foreign != nil {
				c.foreign(space)
			}
			want := dump(space)
			c.rules(space)
			if name != "nothing" && cmp.Equal(want, dump(space)) {
				t.Fatal("kube-proxy has no rules")
			}
			space.Do(func() error { return Remove(t.Context()) })
			if diff := cmp.Diff(want, dump(space)); diff != "" {
				t.Errorf("removed, and left over (-want +got):\n%s", diff)
			}
			if found := lookAt(t, space); found != nil {
				t.Errorf("found afterwards: %+v", found)
			}
		})
	}
}

func feedAll(space *netnstest.Space, rules string) {
	for _, program := range variants {
		feed(space, rules, program)
	}
}

func feed(space *netnstest.Space, rules, program string) {
	space.Feed(rulesOf(rules, program), program+"-restore", "-w", lockWait, "--noflush")
}

func addSet(space *netnstest.Space, name string, family uint8) {
	space.Do(func() error {
		return netlink.IpsetCreate(name, "hash:ip,port", netlink.IpsetCreateOptions{Family: family, Revision: 1})
	})
}

// ownLock gives legacy programs a lock file of their own: others may hold the machine's.
func ownLock(t *testing.T) { t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock")) }

// TestRemoveSparesMarks checks that packets that a network plugin marks for kube-proxy to
// masquerade are masqueraded on.
func TestRemoveSparesMarks(t *testing.T) {
	ownLock(t)
	const plugin = `*nat
:CNI-DN-1 - [0:0]
-A CNI-DN-1 -j KUBE-MARK-MASQ
COMMIT
`
	want := []string{
		"*nat -A CNI-DN-1 -j KUBE-MARK-MASQ",
		"*nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
		"*nat -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
		"*nat -A KUBE-POSTROUTING -j MASQUERADE",
		"*nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
		`*nat -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING`,
		"*nat :CNI-DN-1 -", "*nat :KUBE-MARK-MASQ -", "*nat :KUBE-POSTROUTING -",
	}
	for _, program := range variants {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			space := netnstest.NewSpace(t)
			feed(space, iptablesRules, program)
			feed(space, plugin, program)
			space.Do(func() error { return Remove(t.Context()) })
			var got []string
			for _, line := range dump(space) {
				got = append(got, strings.TrimPrefix(line, program+" "))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRemoveFails checks that a rule of another program that needs one of kube-proxy's chains is an
// error, and that these are found again, in whatever table it is; the other family is removed all
// the same.
func TestRemoveFails(t *testing.T) {
	ownLock(t)
	for table, chain := range map[string]string{"nat": "KUBE-SERVICES", "filter": "KUBE-FORWARD"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			space := netnstest.NewSpace(t)
			for _, program := range []string{"iptables-legacy", "ip6tables-legacy"} {
				feed(space, iptablesRules, program)
			}
			space.Run("iptables-legacy", "-w", lockWait, "-t", table, "-N", "MINE")
			space.Run("iptables-legacy", "-w", lockWait, "-t", table, "-A", "MINE", "-j", chain)
			space.Do(func() error {
				err := Remove(t.Context())
				if err == nil || !strings.Contains(err.Error(), "iptables (legacy): chains KUBE-*: iptables-legacy-restore: exit status") {
					t.Errorf("got %v", err)
				}
				return nil
			})
			want := []string{"iptables (legacy): chains KUBE-*"}
			if found := lookAt(t, space); found == nil || !cmp.Equal(found.Leftovers, want) {
				t.Errorf("found %+v, want %v", found, want)
			}
			space.Run("iptables-legacy", "-w", lockWait, "-t", table, "-F", "MINE")
			space.Do(func() error { return Remove(t.Context()) })
			if found := lookAt(t, space); found != nil {
				t.Errorf("found %+v at last", found)
			}
		})
	}
}

// TestRemoveLeaves checks that rules that are left, although each removal has succeeded, are an error.
func TestRemoveLeaves(t *testing.T) {
	space := netnstest.NewSpace(t)
	space.Run("iptables-nft", "-t", "nat", "-N", "KUBE-SERVICES")
	program(t, "iptables-nft-restore", "cat >/dev/null")
	var err error
	space.Do(func() error { err = Remove(t.Context()); return nil })
	if want := "rules are left after their removal: iptables (nft): chains KUBE-*"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestRemoveKeepsConnections checks that an open connection that kube-proxy's rules have
// translated goes on while other rules translate connections, such as ours.
func TestRemoveKeepsConnections(t *testing.T) {
	ownLock(t)
	for _, program := range append([]string{"nft", "nft ip6"}, variants...) {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			space := netnstest.NewSpace(t)
			endpoint, vip := "10.0.0.1:8080", "10.96.0.1:80"
			for _, args := range []string{"addr add 10.0.0.1/32 dev lo", "route add 10.96.0.0/16 dev lo", "addr add fd00:1::1/128 dev lo nodad", "route add fd00:96::/64 dev lo"} {
				space.Run(append([]string{"ip"}, strings.Fields(args)...)...)
			}
			if strings.Contains(program, "ip6") {
				endpoint, vip = "[fd00:1::1]:8080", "[fd00:96::1]:80"
			}
			if family, isNFT := strings.CutPrefix(program, "nft"); isNFT {
				space.Feed(rulesOf(nftablesRules, strings.TrimSpace(family)), "nft", "-f", "-")
			} else {
				feed(space, iptablesRules, program)
			}
			// Without any rule that needs them, the kernel neither tracks nor translates packets.
			space.Feed(strings.NewReplacer("kube-proxy", "other", "10.96.0.1", "10.96.0.2", "fd00:96::1", "fd00:96::2").Replace(
				rulesOf(nftablesRules, "ip")+rulesOf(nftablesRules, "ip6")), "nft", "-f", "-")
			echo(t, space, endpoint)
			var conn net.Conn
			space.Do(func() (err error) {
				conn, err = net.DialTimeout("tcp", vip, 10*time.Second)
				return err
			})
			t.Cleanup(func() { conn.Close() })
			exchange(t, conn)
			space.Do(func() error { return Remove(t.Context()) })
			if found := lookAt(t, space); found != nil {
				t.Errorf("found afterwards: %+v", found)
			}
			exchange(t, conn)
		})
	}
}

// echo serves at an address.
func echo(t *testing.T, space *netnstest.Space, address string) {
	t.Helper()
	var listener net.Listener
	space.Do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
}

func exchange(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const text = "still there"
	got := make([]byte, len(text))
	if _, err := fmt.Fprint(conn, text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("got %q, error %v", got, err)
	}
}

// TestRemoveLegacyUnused checks that a removal does not add legacy tables to the kernel.
func TestRemoveLegacyUnused(t *testing.T) {
	space := netnstest.NewSpace(t)
	space.Run("nft", "add", "table", "ip", "kube-proxy")
	var names []byte
	space.Do(func() (err error) {
		if err = Remove(t.Context()); err == nil {
			names, err = os.ReadFile("/proc/thread-self/net/ip_tables_names")
		}
		return err
	})
	if len(names) > 0 {
		t.Errorf("legacy tables: %q", names)
	}
}
