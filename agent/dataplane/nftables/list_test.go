// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"slices"
	"strings"
	"testing"
)

// TestList checks that the nft program prints our tables, readably, and takes
// back what it has printed, but for affinity.
func TestList(t *testing.T) {
	s := newSpace(t)
	d := s.dataplane()
	mustSync(t, d, mixed())
	out := s.Run("nft", "list", "ruleset")
	// nft has the names of protocols from /etc/protocols, if that is installed.
	numbers := strings.NewReplacer("udp", "17", "tcp", "6")
	for _, line := range []string{
		`comment "` + tableComment[balancing] + `"`,
		`10.96.0.10 . tcp . 53 : goto cluster-2`,
		`10.96.0.10 . udp . 53 : goto cluster-2-affinity-10800`,
		`udp . 10.96.0.10 . 53 : udp . 10.96.0.10 . 53`,
		`10.96.0.10 . 53 . udp . 10.244.1.2 . 53 : 10.244.1.2 . 53`,
		`comment "a known client"`,
		`10.96.0.10 . udp . 53 . 0 : 10.244.1.2 . 53`,
		`10.96.0.20 . tcp . 80 : goto refuse`,
		`192.0.2.7 . tcp . 443 : goto outside-local-1`,
		`udp . 30053 : goto nodeport-external-2-affinity-10800`,
		`udp . 30053 . 1 : 10.244.2.2 . 53`,
		`fd00:96::10 . udp . 53 . 2 : fd00:244::4 . 53`,
		`dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints`,
		`ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random`,
		`ip saddr 10.244.1.0/24 return`,
		`ip daddr 10.96.0.0/20 fib daddr type != local drop comment "a ClusterIP that no Service has"`,
		`ip daddr 127.0.0.1 meta l4proto . tcp dport vmap @nodeports comment "node ports on localhost"`,
		`type filter hook prerouting priority raw; policy accept;`,
		`iif != "lo" ip daddr 127.0.0.0/8 drop comment "drop martian loopback destination"`,
		`iif != "lo" ip saddr 127.0.0.0/8 drop comment "drop martian loopback source"`,
		`oif != "lo" ip saddr 127.0.0.0/8 ct status dnat masquerade fully-random`,
		`ip6 daddr fd00:96::/108 fib daddr type != local drop`,
		`ip daddr . meta l4proto . th dport @restricted jump check-sources`,
		`. ip saddr & 255.255.255.128 @sources-25 return`,
		`192.0.2.7 . tcp . 443 . 203.0.113.0`,
		`2001:db8:2::7 . tcp . 443 . 2001:db8::1`,
	} {
		if !strings.Contains(out, line) && !strings.Contains(out, numbers.Replace(line)) {
			t.Errorf("not listed: %s", line)
		}
	}
	if t.Failed() || testing.Verbose() {
		t.Log(out)
	}
	// What it prints of affinity it cannot read, see affinity.go.
	plain := mixed()
	for _, key := range slices.Collect(keys(plain)) {
		stick(&plain, key.String(), "", 0)
	}
	mustSync(t, d, plain)
	out = s.Run("nft", "list", "ruleset")
	if msg, err := newSpace(t).Try(out, "nft", "-f", "-"); err != nil {
		t.Errorf("nft does not read what it has printed: %v %s", err, msg)
	}
}
