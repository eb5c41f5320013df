// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"slices"
	"strings"
	"testing"
)

// TestList checks that the nft program prints our tables readably, and accepts what it
// printed, except for session affinity.
func TestList(t *testing.T) {
	s := newSpace(t)
	d := s.dataplane()
	mustSync(t, d, mixed())
	out := s.Run("nft", "list", "ruleset")
	// nft has the names of protocols from /etc/protocols, if that is installed.
	numbers := strings.NewReplacer("udp", "17", "tcp", "6")
	for _, line := range []string{
		`comment "` + DNAT().comment + `"`,
		`tcp . 10.96.0.10 . 53 : goto cluster-2`,
		`udp . 10.96.0.10 . 53 : goto cluster-2-affinity-10800`,
		`udp . 0.0.0.0 . 30053 : udp . 10.96.0.10 . 53 . 0x00000002`,
		`10.96.0.10 . 53 . udp . 10.244.1.2 . 53`,
		`comment "a known client"`,
		`tcp . 10.96.0.10 . 53 . 0 : 10.244.1.2 . 53`,
		`udp . 10.96.0.10 . 53 . 1 : udp . 10.244.2.2 . 53`,
		`tcp . 10.96.0.20 . 80 : goto refuse`,
		`tcp . 192.0.2.7 . 443 : goto here-local-1-affinity-60`,
		`udp . 10.96.0.10 . 53 : goto port-2-affinity-10800`,
		`tcp . 0.0.0.0 . 30080 : goto refuse`,
		`goto shared comment "if it is in @ports"`,
		`udp . fd00:96::10 . 53 . 2 : udp . fd00:244::4 . 53`,
		`dnat ip to meta l4proto . ip daddr . th dport . numgen random mod 2 map @endpoints`,
		`ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random`,
		`ip saddr 10.244.1.0/24 return`,
		`ip daddr 10.96.0.0/20 fib daddr type != local drop comment "a ClusterIP that no Service has"`,
		`ip daddr 127.0.0.1 meta l4proto . ip daddr & 0.0.0.0 . tcp dport vmap @nodeports comment "node ports on localhost"`,
		`ip6 daddr fd00:96::/108 fib daddr type != local drop`,
		`meta l4proto . ip daddr . th dport @restricted jump check-sources`,
		`ip daddr @nodeport-addresses jump check-nodeport-sources`,
		`ip saddr 203.0.113.0/25 return`,
		`fib saddr type local return comment "a process of the node"`,
		`meta l4proto . ip daddr & 0.0.0.0 . th dport @restricted drop`,
		`. ip saddr & 255.255.255.128 @sources-25 return`,
		`tcp . 192.0.2.7 . 443 . 203.0.113.0`,
		`tcp . 2001:db8:2::7 . 443 . 2001:db8::1`,
	} {
		if !strings.Contains(out, line) && !strings.Contains(out, numbers.Replace(line)) {
			t.Errorf("not listed: %s", line)
		}
	}
	if t.Failed() || testing.Verbose() {
		t.Log(out)
	}
	// nft cannot parse its own output for session affinity, see affinity.go.
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
