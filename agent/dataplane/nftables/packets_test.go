// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The addresses of the Services, by what they are for.
type services struct {
	cluster, refused, dropped, hairpin   string // ClusterIPs
	local, cluster2, elsewhere, unserved string // external IPs
}

func (f family) services() services {
	if f.name == "IPv4" {
		return services{"10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4", "192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.10"}
	}
	return services{"fd00:96::1", "fd00:96::2", "fd00:96::3", "fd00:96::4", "2001:db8:2::7", "2001:db8:2::8", "2001:db8:2::9", "2001:db8:2::a"}
}

func join(addr, port string) string { return net.JoinHostPort(addr, port) }

// desired has a Service for each cell of the masquerade table.
func (f family) desired(d *model.Desired) {
	s, nodePort := f.services(), map[string]string{"IPv4": "nodeport:", "IPv6": "nodeport6:"}[f.name]
	a, b, r := join(f.podA, "8080"), join(f.podB, "8080"), join(f.remote, "8080")
	for _, proto := range []string{"/tcp", "/udp"} {
		put(d, join(s.cluster, "80")+proto, clusterIP(a, b, r))
		put(d, join(s.refused, "80")+proto, rejected)
		put(d, join(s.dropped, "80")+proto, dropped)
		put(d, join(s.hairpin, "80")+proto, clusterIP(a))
		put(d, join(s.local, "80")+proto, clusterIP(a, r), forwardTo(model.MasqueradeNever, a))
		put(d, join(s.cluster2, "80")+proto, forwardTo(model.MasqueradeAlways, a, r))
		put(d, join(s.elsewhere, "80")+proto, clusterIP(r), dropped)
		put(d, join(s.unserved, "80")+proto, rejected)
		put(d, nodePort+"30080"+proto, forwardTo(model.MasqueradeAlways, a, r))
		put(d, nodePort+"30081"+proto, clusterIP(a, r), forwardTo(model.MasqueradeNever, a))
		put(d, nodePort+"30082"+proto, rejected)
		put(d, nodePort+"30083"+proto, clusterIP(r), dropped)
	}
	for _, vip := range []string{s.cluster, s.refused, s.dropped, s.hairpin} {
		d.ClusterIPs[netip.MustParseAddr(vip)] = struct{}{}
	}
	for _, local := range []string{f.podA, f.podB} {
		d.LocalEndpoints[netip.MustParseAddr(local)] = struct{}{}
	}
	d.Node.NodePortAddresses = append(d.Node.NodePortAddresses, netip.MustParseAddr(f.node))
	bits := map[string]int{"IPv4": 24, "IPv6": 64}[f.name]
	d.Node.PodCIDRs = append(d.Node.PodCIDRs, netip.PrefixFrom(netip.MustParseAddr(f.podA), bits).Masked())
}

func bothFamilies() model.Desired {
	d := model.NewDesired()
	for _, f := range families {
		f.desired(&d)
	}
	return d
}

type flow struct{ to, port, want string }

// flows are all destinations, with the answer for a client at this address. Masqueraded
// traffic arrives from the node's address.
func (f family) flows(client string, isPod, isOutside bool) map[string]flow {
	s := f.services()
	pod := func(name, source string) string { return name + " sees " + source }
	masqA, masqB, masqR := pod("pod-a", f.gateway), pod("pod-b", f.gateway), pod("remote", f.link)
	a, b, r := masqA, masqB, masqR
	if isPod {
		a, b, r = pod("pod-a", client), pod("pod-b", client), pod("remote", client)
	}
	local, elsewhere := a+", "+r, r
	if isOutside {
		local, elsewhere = pod("pod-a", client), "no answer"
	}
	return map[string]flow{
		"ClusterIP":                          {s.cluster, "80", a + ", " + b + ", " + r},
		"ClusterIP, port without a Service":  {s.cluster, "81", "refused"},
		"ClusterIP without endpoints":        {s.refused, "80", "refused"},
		"ClusterIP dropped":                  {s.dropped, "80", "no answer"},
		"external IP without endpoints":      {s.unserved, "80", "refused"},
		"external IP, policy Cluster":        {s.cluster2, "80", masqA + ", " + masqR},
		"external IP, policy Local":          {s.local, "80", local},
		"external IP, Local, none here":      {s.elsewhere, "80", elsewhere},
		"node port, policy Cluster":          {f.node, "30080", masqA + ", " + masqR},
		"node port, policy Local":            {f.node, "30081", local},
		"node port without endpoints":        {f.node, "30082", "refused"},
		"node port, policy Local, none here": {f.node, "30083", elsewhere},
	}
}

// TestFlows sends real packets for every cell of the masquerade table.
func TestFlows(t *testing.T) {
	o := newTopology(t)
	mustSync(t, o.node.dataplane(), bothFamilies())
	o.node.watchMark()
	for _, f := range families {
		for who, client := range map[string]struct {
			*space
			addr         string
			pod, outside bool
		}{
			"pod":     {o.client, f.client, true, false},
			"host":    {o.node, "", false, false},
			"outside": {o.outside, f.outside, false, true},
		} {
			for name, flow := range f.flows(client.addr, client.pod, client.outside) {
				for _, proto := range []string{"tcp", "udp"} {
					t.Run(strings.Join([]string{f.name, who, proto, name}, "/"), func(t *testing.T) {
						timeout := patience
						if flow.want == "no answer" {
							timeout = impatience
						}
						if got := client.askOften(proto, join(flow.to, flow.port), timeout); got != flow.want {
							t.Errorf("got %q, want %q", got, flow.want)
						}
					})
				}
			}
		}
	}
	o.node.checkMark()
}

// watchMark counts packets that leave with the mark for masquerading.
func (s *space) watchMark() {
	s.T.Helper()
	if out, err := s.Try(`table inet watch {
		chain marked {
			type filter hook postrouting priority 300
			meta mark & 0x4000 != 0 counter
		}
		chain unmarked {
			type filter hook postrouting priority 300
			meta mark & 0x4000 == 0 counter
		}
	}`, "nft", "-f", "-"); err != nil {
		s.T.Fatal(err, out)
	}
}

func (s *space) checkMark() {
	s.T.Helper()
	if out := s.Run("nft", "list", "chain", "inet", "watch", "marked"); !strings.Contains(out, "packets 0") {
		s.T.Error("the mark is left on packets:", out)
	}
	if out := s.Run("nft", "list", "chain", "inet", "watch", "unmarked"); strings.Contains(out, "packets 0") {
		s.T.Error("no packets were counted at all:", out)
	}
}

// TestHairpin checks that an endpoint reaches itself through its Service.
func TestHairpin(t *testing.T) {
	o := newTopology(t)
	mustSync(t, o.node.dataplane(), bothFamilies())
	for _, f := range families {
		for _, proto := range []string{"tcp", "udp"} {
			want := "pod-a sees " + f.gateway
			if got := o.podA.ask(proto, join(f.services().hairpin, "80"), patience); got != want {
				t.Errorf("%s %s: got %q, want %q", f.name, proto, got, want)
			}
		}
	}
}

// TestPodDetection checks the ways to recognize this node's Pods, and no way.
func TestPodDetection(t *testing.T) {
	o, f := newTopology(t), families[0]
	s, d := f.services(), o.node.dataplane()
	const unchanged, masqueraded = "remote sees 10.244.1.4", "remote sees 10.0.0.1"
	tests := map[string]struct {
		node                       model.NodeSettings
		pod, outside, podToOutside string // the latter through a Service with policy Local
	}{
		"interface":         {model.NodeSettings{PodInterface: "client"}, unchanged, masqueraded, unchanged},
		"interface prefix":  {model.NodeSettings{PodInterface: "cli", PodInterfacePrefix: true}, unchanged, masqueraded, unchanged},
		"another interface": {model.NodeSettings{PodInterface: "cli"}, masqueraded, masqueraded, "no answer"},
		"CIDR":              {model.NodeSettings{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.4/32")}}, unchanged, masqueraded, unchanged},
		"none":              {model.NodeSettings{}, unchanged, "remote sees 203.0.113.2", "no answer"},
	}
	desired := model.NewDesired()
	put(&desired, join(s.cluster, "80")+"/tcp", clusterIP(join(f.remote, "8080")))
	put(&desired, join(s.elsewhere, "80")+"/tcp", clusterIP(join(f.remote, "8080")), dropped)
	mustSync(t, d, desired)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			mustApply(t, d, model.Delta{Node: &tt.node})
			if got := o.client.ask("tcp", join(s.cluster, "80"), patience); got != tt.pod {
				t.Errorf("pod: got %q, want %q", got, tt.pod)
			}
			if got := o.outside.ask("tcp", join(s.cluster, "80"), patience); got != tt.outside {
				t.Errorf("outside: got %q, want %q", got, tt.outside)
			}
			timeout := patience
			if tt.podToOutside == "no answer" {
				timeout = impatience
			}
			if got := o.client.ask("tcp", join(s.elsewhere, "80"), timeout); got != tt.podToOutside {
				t.Errorf("pod to an external IP: got %q, want %q", got, tt.podToOutside)
			}
		})
	}
}

// TestEstablishedSurvive checks that changes leave connections open, even if their
// endpoint, their Service or the whole table is deleted.
func TestEstablishedSurvive(t *testing.T) {
	o, f := newTopology(t), families[0]
	d, desired := o.node.dataplane(), bothFamilies()
	mustSync(t, d, desired)
	vip := join(f.services().hairpin, "80")
	c, err := o.client.dial("tcp", vip, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check := func(when string) {
		t.Helper()
		said, err := exchange(c, patience)
		if err != nil || said != "pod-a sees "+f.client {
			t.Errorf("%s: %q %v", when, said, err)
		}
	}
	check("at first")

	moved := bothFamilies()
	put(&moved, vip+"/tcp", clusterIP(join(f.podB, "8080")))
	mustApply(t, d, model.Diff(desired, moved))
	check("after its endpoint is gone")
	if got := o.client.ask("tcp", vip, patience); got != "pod-b sees "+f.client {
		t.Errorf("a new connection: %q", got)
	}

	empty := bothFamilies()
	put(&empty, vip+"/tcp", rejected)
	mustApply(t, d, model.Diff(moved, empty))
	check("after all endpoints are gone")
	if got := o.client.ask("tcp", vip, patience); got != "refused" {
		t.Errorf("a new connection: %q", got)
	}

	o.podA.acknowledged()
	o.node.Run("nft", "flush", "ruleset")
	mustSync(t, d, desired)
	check("after a flushed ruleset was repaired")
	o.node.Run("nft", "add", "set", "ip", "fairlead", "mine", "{ type ipv4_addr; }")
	mustSync(t, d, desired)
	check("after the table was replaced")
	if got := o.client.ask("tcp", vip, patience); got != "pod-a sees "+f.client {
		t.Errorf("a new connection: %q", got)
	}
}

// acknowledged waits until the kernel has an acknowledgement of everything that it has sent on open
// connections. What it repeats while there are no rules keeps the endpoint's address, and the client's
// kernel resets the connection.
func (s *space) acknowledged() {
	s.T.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		pending := 0
		for line := range strings.Lines(s.Run("cat", "/proc/net/tcp", "/proc/net/tcp6")) {
			if f := strings.Fields(line); f[3] == "01" && !strings.HasPrefix(f[4], "00000000:") {
				pending++
			}
		}
		if pending == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.T.Fatalf("%d connections wait for an acknowledgement", pending)
		}
	}
}

// TestNoConnectionFailsDuringChanges connects all the time while the endpoints change, in
// number and in kind.
func TestNoConnectionFailsDuringChanges(t *testing.T) {
	o, f := newTopology(t), families[0]
	d, now := o.node.dataplane(), bothFamilies()
	mustSync(t, d, now)
	vip := join(f.services().cluster, "80")
	a, b, r := join(f.podA, "8080"), join(f.podB, "8080"), join(f.remote, "8080")
	stop, failures := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(failures)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got := o.client.ask("tcp", vip, patience); !strings.Contains(got, "sees") {
				failures <- got
				return
			}
		}
	}()
	for i := range 300 {
		next := bothFamilies()
		put(&next, vip+"/tcp", clusterIP([][]string{{a, b, r}, {b}, {a, r}, {r}, {a, b}}[i%5]...))
		mustApply(t, d, model.Diff(now, next))
		now = next
	}
	close(stop)
	for failure := range failures {
		t.Error(failure)
	}
}
