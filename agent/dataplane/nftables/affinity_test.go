// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// sticky is the Service of the tests of affinity in a family: its cluster IP,
// its load balancer's address with the external traffic policy Local, and its
// node port.
type sticky struct {
	family
	proto             string
	vip, lb, nodePort string
	keys              []string
}

func (f family) sticky(proto string) sticky {
	s := f.services()
	prefix := map[string]string{"IPv4": "nodeport:", "IPv6": "nodeport6:"}[f.name]
	return sticky{f, proto, join(s.cluster, "80"), join(s.local, "80"), join(f.node, "30080"),
		[]string{join(s.cluster, "80") + "/" + proto, join(s.local, "80") + "/" + proto, prefix + "30080/" + proto}}
}

// desired forwards to the endpoints with a session affinity timeout in seconds.
func (s sticky) desired(seconds int32, endpoints ...string) model.Desired {
	d := model.NewDesired()
	var all, local []string
	for _, e := range endpoints {
		all = append(all, join(e, "8080"))
		if e != s.remote {
			local = append(local, join(e, "8080"))
		}
	}
	outside := dropped
	if local != nil {
		outside = forwardTo(model.MasqueradeNever, local...)
	}
	put(&d, s.keys[0], clusterIP(all...))
	put(&d, s.keys[1], clusterIP(all...), outside)
	put(&d, s.keys[2], forwardTo(model.MasqueradeAlways, all...))
	for _, key := range s.keys {
		stick(&d, key, s.keys[0], seconds)
	}
	d.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr(s.node)}
	bits := map[string]int{"IPv4": 24, "IPv6": 64}[s.name]
	d.Node.PodCIDRs = []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(s.podA), bits).Masked()}
	return d
}

// who returns the names of the endpoints that answer many requests.
func (s *space) who(proto string, to ...string) string {
	var out []string
	for range 12 {
		for _, addr := range to {
			name, _, _ := strings.Cut(s.ask(proto, addr, patience), " sees")
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ", ")
}

// forgetConnections flushes the namespace's conntrack table. Otherwise a datagram from a
// port that was used before is no new connection.
func (s *space) forgetConnections() {
	s.T.Helper()
	handle, err := netlink.NewHandleAt(s.Handle, unix.NETLINK_NETFILTER)
	if err != nil {
		s.T.Fatal(err)
	}
	defer handle.Close()
	if err := handle.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		s.T.Fatal(err)
	}
}

func eachSticky(t *testing.T, f func(t *testing.T, o *topology, s sticky)) {
	o := newTopology(t)
	for _, family := range families {
		for _, proto := range []string{"tcp", "udp"} {
			t.Run(family.name+"/"+proto, func(t *testing.T) {
				f(t, o, family.sticky(proto))
				o.node.Run("nft", "flush", "ruleset")
			})
		}
	}
}

// addresses are the endpoints' addresses by their names.
func (s sticky) addresses() map[string]string {
	return map[string]string{"pod-a": s.podA, "pod-b": s.podB, "remote": s.remote}
}

// TestAffinity checks that a client keeps its endpoint on all addresses of the Service as
// long as the endpoint exists, and no longer.
func TestAffinity(t *testing.T) {
	eachSticky(t, func(t *testing.T, o *topology, s sticky) {
		d, now := o.node.dataplane(), s.desired(10800, s.podA, s.podB, s.remote)
		mustSync(t, d, now)
		change := func(next model.Desired) {
			mustApply(t, d, model.Diff(now, next))
			o.node.forgetConnections()
			now = next
		}
		to := []string{s.vip, s.nodePort, s.lb}
		first := o.client.who(s.proto, to...)
		if s.addresses()[first] == "" {
			t.Fatalf("a Pod reaches %q, want one endpoint", first)
		}
		var others []string
		for name, addr := range s.addresses() {
			if name != first {
				others = append(others, addr)
			}
		}
		change(s.desired(10800, others[0], s.addresses()[first]))
		if got := o.client.who(s.proto, to...); got != first {
			t.Errorf("with another number of endpoints: %q, was %q", got, first)
		}
		change(s.desired(10800, others...))
		second := o.client.who(s.proto, to...)
		if s.addresses()[second] == "" || second == first {
			t.Errorf("after %q is gone: %q", first, second)
		}
		change(s.desired(10800, s.podA, s.podB, s.remote))
		if got := o.client.who(s.proto, to...); got != second {
			t.Errorf("after %q has come back: %q, was %q", first, got, second)
		}
		change(s.desired(0, s.podA, s.podB, s.remote))
		if got := o.client.who(s.proto, s.vip, s.vip, s.vip); got != "pod-a, pod-b, remote" {
			t.Errorf("without affinity: %q", got)
		}
		change(s.desired(10800, s.podA, s.podB, s.remote))
		if got := o.client.who(s.proto, to...); s.addresses()[got] == "" {
			t.Errorf("with affinity again: %q, want one endpoint", got)
		}
	})
}

// TestAffinityPolicyLocal checks that a client with a remembered endpoint on another node
// gets a local one where only local ones are allowed.
func TestAffinityPolicyLocal(t *testing.T) {
	eachSticky(t, func(t *testing.T, o *topology, s sticky) {
		d := o.node.dataplane()
		before, after := s.desired(10800, s.remote), s.desired(10800, s.podA, s.remote)
		mustSync(t, d, before)
		if got := o.outside.who(s.proto, s.vip); got != "remote" {
			t.Fatalf("got %q", got)
		}
		mustApply(t, d, model.Diff(before, after))
		o.node.forgetConnections()
		if got := o.outside.who(s.proto, s.lb); got != "pod-a" {
			t.Errorf("policy Local: %q, want pod-a", got)
		}
		if got := o.outside.who(s.proto, s.vip, s.nodePort); got != "pod-a" {
			t.Errorf("after that, policy Cluster: %q, want pod-a", got)
		}
	})
}

// TestAffinityTimesOut checks that a client that stays away is dropped, that one that
// keeps connecting is not, and that a new timeout takes effect.
func TestAffinityTimesOut(t *testing.T) {
	o, s := newTopology(t), families[0].sticky("tcp")
	d, long := o.node.dataplane(), s.desired(10800, s.podA, s.podB, s.remote)
	mustSync(t, d, long)
	first := o.client.who(s.proto, s.vip)
	const timeout = 3 * time.Second
	short := s.desired(int32(timeout/time.Second), s.podA, s.podB, s.remote)
	mustApply(t, d, model.Diff(long, short))
	before := time.Now()
	for end := before.Add(2 * timeout); before.Before(end); {
		now := time.Now()
		got, _, answered := strings.Cut(o.client.ask(s.proto, s.vip, patience), " sees")
		// On a machine that stalled for so long the client stayed away.
		if stayedAway := time.Since(before) >= timeout; !answered || got != first && !stayedAway {
			t.Fatalf("got %q, was %q", got, first)
		}
		first, before = got, now
	}
	deadline := time.Now().Add(time.Minute)
	for strings.Contains(o.node.Run("nft", "list", "map", "ip", "fairlead", "affinity"), s.client) {
		if time.Now().After(deadline) {
			t.Fatal("the client is still remembered")
		}
	}
}

// TestAffinitySurvives checks that a restart of the agent and a repair keep the remembered
// clients, and that these cause no changes.
func TestAffinitySurvives(t *testing.T) {
	eachSticky(t, func(t *testing.T, o *topology, s sticky) {
		d, desired := o.node.dataplane(), s.desired(10800, s.podA, s.podB, s.remote)
		mustSync(t, d, desired)
		first := o.client.who(s.proto, s.vip)
		before := d.generation(t)
		if stats, after := mustSync(t, d, desired), d.generation(t); stats.Operations != 0 || after != before {
			t.Errorf("the same again: %+v, generation %d, was %d", stats, after, before)
		}
		if stats := mustSync(t, o.node.dataplane(), desired); stats.Operations != 0 {
			t.Errorf("after a restart: %+v", stats)
		}
		family := map[string]string{"IPv4": "ip", "IPv6": "ip6"}[s.name]
		o.node.Run("nft", "flush", "set", family, "fairlead", "affinity-endpoints-local")
		o.node.Run("nft", "flush", "map", family, "fairlead", "affinity-choices")
		if got := o.client.ask(s.proto, s.nodePort, patience); !strings.Contains(got, "sees") {
			t.Errorf("before the repair: %q", got)
		}
		o.node.Run("nft", "flush", "set", family, "fairlead", "affinity-endpoints")
		if stats := mustSync(t, d, desired); stats.Repaired == 0 {
			t.Errorf("repair: %+v", stats)
		}
		if got := o.client.who(s.proto, s.vip, s.nodePort); got != first {
			t.Errorf("got %q, was %q", got, first)
		}
	})
}

// TestAffinityFull checks that clients that cannot be remembered are balanced, and that
// this does not concern Services of other namespaces.
func TestAffinityFull(t *testing.T) {
	o, s := newTopology(t), families[0].sticky("tcp")
	d, desired := o.node.dataplane(), s.desired(10800, s.podA, s.podB, s.remote)
	other := "10.96.77.7:80"
	put(&desired, other+"/tcp", clusterIP(join(s.podA, "8080"), join(s.podB, "8080"), join(s.remote, "8080")))
	stick(&desired, other+"/tcp", other+"/tcp", 10800)
	for _, f := range desired.Frontends {
		if f.Key.String() == other+"/tcp" {
			f.Service.Namespace = "another" // those above have none
		}
	}
	mustSync(t, d, desired)
	b, table := nft.NewBatch(), nft.NewTable(unix.NFPROTO_IPV4, nattable.TableName, "", false)
	affinity := table.NewSet(nft.SetSpec{Name: "affinity", Key: []nft.Field{nft.ProtocolField()}, Data: []nft.Field{nft.ProtocolField()}})
	port := func(to string) []byte {
		a := netip.MustParseAddrPort(to)
		return append(binary.BigEndian.AppendUint16(append([]byte{unix.IPPROTO_TCP, 0, 0, 0}, a.Addr().AsSlice()...), a.Port()), 0, 0)
	}
	vip, endpoint := port(s.vip), port(join(s.podA, "8080"))
	for i := range uint32(1 << 16) {
		client := binary.BigEndian.AppendUint32(nil, 100<<24+i)
		b.Add(affinity).Data(slices.Concat(vip, client), endpoint)
	}
	if err := d.nft.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := o.client.who(s.proto, s.vip, s.vip, s.vip); got != "pod-a, pod-b, remote" {
		t.Errorf("got %q", got)
	}
	for _, from := range []*space{o.client, o.outside} {
		if got := from.who(s.proto, other, other, other); !slices.Contains([]string{"pod-a", "pod-b", "remote"}, got) {
			t.Errorf("another namespace: got %q", got)
		}
	}
}

// TestAffinityOfManyAtOnce checks that concurrent connections of a new client reach one
// endpoint.
func TestAffinityOfManyAtOnce(t *testing.T) {
	eachSticky(t, func(t *testing.T, o *topology, s sticky) {
		mustSync(t, o.node.dataplane(), s.desired(10800, s.podA, s.podB, s.remote))
		var clients sync.WaitGroup
		answers := make([]string, 20)
		for i := range answers {
			clients.Go(func() { answers[i] = o.outside.ask(s.proto, s.vip, patience) })
		}
		clients.Wait()
		slices.Sort(answers)
		if answers = slices.Compact(answers); len(answers) != 1 || !strings.Contains(answers[0], "sees") {
			t.Errorf("got %q", answers)
		}
	})
}
