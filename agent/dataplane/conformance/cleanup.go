// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"slices"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// Cleanup removes everything of the mode and nothing of others, whichever Dataplane it is
// called on, and can be called again.
func testCleanup(t *testing.T, s Subject) {
	n := s.node(t)
	n.Serve(podEndpoints...)
	n.addOthers("before")
	before := n.Dump()
	d := s.start(n)
	if _, err := d.Probe(t.Context(), nil); err != nil {
		t.Fatal("Probe:", err)
	}
	n.wantDump("left after Probe", before, &s)
	cleanUp(t, d)
	n.wantDump("left after a Cleanup without anything", before, &s)
	synced(t, d, Everything())
	if slices.Equal(before, n.Dump()) {
		t.Error("Sync programs nothing")
	}
	n.wantServed()
	n.meet(n.Outside, "tcp", "10.96.0.6:80", 1, served) // affinity is remembered
	cleanUp(t, d)
	n.wantDump("left after Cleanup", before, &s)
	cleanUp(t, d)
	n.wantDump("left after another Cleanup", before, &s)
	synced(t, d, Everything())
	n.wantServed()
	closed(t, d)
	d = s.start(n)
	cleanUp(t, d)
	n.wantDump("left after Cleanup by a new agent", before, &s)
	synced(t, d, Everything())
	s.adopted(t, d, Everything())
	n.wantServed()
	cleanUp(t, d)
	n.wantDump("left at the end", before, &s)
}

// addOthers adds objects that do not belong to the mode, each with a name.
func (n *Node) addOthers(name string) {
	n.T.Helper()
	n.Feed(`name=$1; set -e
ip link add "$name" type veth peer "$name-peer"; ip link set "$name" addrgenmode none; ip addr add 198.18.0.1/32 dev "$name"; ip link set "$name" up
ip route add 198.18.${#name}.0/24 dev "$name" proto 99
ip rule add pref 100${#name} from 198.18.0.0/16 lookup 99
nft -f - <<END
table ip other-$name {
  set known { type ipv4_addr; elements = { 198.18.0.7 } }
  chain prerouting { type nat hook prerouting priority -90; ip daddr @known dnat to 198.18.0.8; }
  chain postrouting { type nat hook postrouting priority 90; ip saddr 198.18.0.0/16 masquerade; }
}
END
iptables-legacy -w 5 -t filter -N OTHER-$name; iptables-legacy -w 5 -A OTHER-$name -d 198.18.0.9 -j DROP; iptables-legacy -w 5 -I FORWARD -j OTHER-$name
`, "bash", "-s", name)
}

// step is a call in a handover, or the end of the agent.
type step string

const (
	stepIncoming step = "Incoming"
	stepSync     step = "Sync"
	stepOutgoing step = "Outgoing"
	stepReleased step = "Released"
	stepRestart  step = "a new agent"
)

// endings are the moments of a handover at which an agent may be killed.
var endings = [][]step{
	{stepIncoming},
	{stepIncoming, stepSync},
	{stepIncoming, stepRestart, stepIncoming, stepSync},
	{stepSync, stepIncoming},
	{stepSync, stepOutgoing},
	{stepSync, stepOutgoing, stepReleased},
	{stepSync, stepRestart, stepReleased},
	{stepSync, stepOutgoing, stepReleased, stepRestart, stepReleased},
	{stepSync, stepOutgoing, stepReleased, stepReleased, stepIncoming, stepSync},
}

// Cleanup by a new agent removes everything after the previous one was killed in a
// handover.
func testCleanupInHandover(t *testing.T, s Subject) {
	n := s.node(t)
	before, want := n.Dump(), few()
	for _, kind := range []dataplane.Kind{dataplane.NAT, dataplane.LoadBalancer, dataplane.Proxy} {
		for _, steps := range endings {
			d := s.start(n)
			for _, step := range steps {
				var err error
				switch step {
				case stepIncoming:
					err = d.Incoming(t.Context(), kind)
				case stepOutgoing:
					err = d.Outgoing(t.Context(), kind)
				case stepSync:
					_, err = d.Sync(t.Context(), want, nil)
				case stepReleased:
					_, err = d.Released(t.Context(), kind, want, nil)
				case stepRestart:
					closed(t, d)
					d = s.start(n)
				}
				if err != nil {
					t.Fatalf("%v with a mode of kind %d: %s: %v", steps, kind, step, err)
				}
			}
			if last := steps[len(steps)-1]; last == stepSync {
				s.adopted(t, d, want)
			}
			closed(t, d)
			d = s.start(n)
			cleanUp(t, d)
			closed(t, d)
			if n.wantDump("left after Cleanup", before, &s); t.Failed() {
				t.Fatalf("%v with a mode of kind %d", steps, kind)
			}
		}
	}
}
