// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

const nodeAddress = "192.168.0.2" // of conformance.Node

// onNodes runs a test on a node for each mode that can be observed.
func onNodes(t *testing.T, test func(t *testing.T, o *observed)) {
	observable := 0
	for _, m := range modes.All() {
		if m.Kind != dataplane.NAT {
			continue
		}
		observable++
		t.Run(string(m.Name), func(t *testing.T) {
			n := conformance.NewNode(t)
			test(t, &observed{Node: n, mode: m, dataplane: n.Open(m.Open)})
		})
	}
	if observable < 2 {
		t.Errorf("%d modes can be observed", observable)
	}
}

// observed is a node whose connections are observed.
type observed struct {
	*conformance.Node
	mode      dataplane.Mode
	dataplane dataplane.Dataplane
	filter    ObserveOptions

	ports atomic.Int32

	mu     sync.Mutex
	wanted engine.Wanted
}

// program programs what is desired, as an agent does.
func (o *observed) program(d model.Desired) {
	o.T.Helper()
	desiredtest.Sync(o.T, o.dataplane, d)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wanted.Mode, o.wanted.Desired = o.mode.Name, d
	o.wanted.Changes++
}

// start observes until the test ends. It returns what is printed.
func (o *observed) start() *bufio.Scanner {
	o.T.Helper()
	options := o.filter
	options.Node, options.Sysctls, options.Modes = "node-1", o.Space, modes.All()
	options.Addresses = func() ([]netip.Addr, error) { return netdev.AddressesOf(o.Handle) }
	f := &follower{options: options, asks: asks{
		wanted:  func() (engine.Wanted, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.wanted, nil },
		changes: func() (uint64, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.wanted.Changes, nil },
	}}
	ctx, stop := context.WithTimeout(o.T.Context(), 2*time.Minute)
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := observe(ctx, f, int(o.Handle), in)
		in.CloseWithError(err)
		done <- err
	}()
	o.T.Cleanup(func() {
		stop()
		out.Close()
		if err := <-done; err != nil {
			o.T.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	var start observation.Start
	o.next(lines, &start)
	if want := (observation.Start{Version: observation.Version, Node: "node-1", Mode: o.mode.Name}); start != want {
		o.T.Errorf("the first line is %+v, want %+v", start, want)
	}
	return lines
}

func (o *observed) next(lines *bufio.Scanner, into any) {
	o.T.Helper()
	if !lines.Scan() {
		o.T.Fatal("the output has ended: ", lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), into); err != nil {
		o.T.Fatalf("%v: %s", err, lines.Text())
	}
}

// service returns a Service with a frontend of its own, and in addition a node port (0: none).
func service(d *model.Desired, name, vip string, nodePort uint16, b ...model.Backend) {
	desiredtest.Put(d, vip, b...)
	f := d.Frontends[desiredtest.At(vip)]
	f.Kind, f.PortName, f.PortKey = model.KindClusterIP, "dns", f.Key
	f.Service = model.ServiceID{Namespace: "shop", Name: name, Family: model.FamilyOf(f.Key.Address)}
	d.ClusterIPs[f.Key.Address] = struct{}{}
	if nodePort == 0 {
		return
	}
	port := *f
	port.Kind, port.Key = model.KindNodePort, model.FrontendKey{Address: model.Unspecified(f.Service.Family), Protocol: f.Key.Protocol, Port: nodePort}
	d.Frontends[port.Key] = &port
}

func settings() model.Desired {
	d := model.NewDesired()
	d.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr(nodeAddress)}
	d.Node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}
	return d
}

// knock opens a flow of UDP. It needs no answer.
func (o *observed) knock(from *netnstest.Space, to string) (client netip.AddrPort) {
	o.T.Helper()
	from.Do(func() (err error) {
		client, err = o.send(to)
		return err
	})
	return client
}

// send sends a packet from a port of its own: those that the kernel chooses come again, and then it is no new flow.
func (o *observed) send(to string) (netip.AddrPort, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: 20000 + int(o.ports.Add(1))})
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer conn.Close()
	address := netip.MustParseAddrPort(to)
	_, err = conn.WriteToUDPAddrPort([]byte("?"), address)
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), err
}

// TestEachConnection opens random connections to random Services: each is shown once, and as what it is, and it
// went to an endpoint that the rules say, from which `explain` has its list.
func TestEachConnection(t *testing.T) {
	onNodes(t, func(t *testing.T, o *observed) {
		seed := rand.Uint64()
		t.Log("seed", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		d := settings()
		some := func(v6 bool) (endpoints []string) {
			for _, i := range random.Perm(8)[:1+random.IntN(6)] {
				address := fmt.Sprintf("10.244.1.%d:5353", i+2)
				if v6 {
					address = fmt.Sprintf("[fd00:244::%d]:5353", i+2)
				}
				endpoints = append(endpoints, address)
			}
			return endpoints
		}
		var places []string // of connections
		for i := range 20 {
			name := fmt.Sprint("s", i)
			service(&d, name, fmt.Sprintf("10.96.0.%d:53/udp", i+1), uint16(30000+i), desiredtest.ClusterIP(some(false)...), desiredtest.ForwardTo(model.MasqueradeNever, some(false)...))
			service(&d, name, fmt.Sprintf("[fd00:96::%x]:53/udp", i+1), 0, desiredtest.ClusterIP(some(true)...))
			places = append(places, fmt.Sprintf("10.96.0.%d:53", i+1), fmt.Sprintf("[fd00:96::%x]:53", i+1), fmt.Sprintf("%s:%d", nodeAddress, 30000+i))
		}
		o.program(d)
		lines := o.start()
		for range 10 {
			var opened []opening
			for range 30 {
				to := netip.MustParseAddrPort(places[random.IntN(len(places))])
				from := []*netnstest.Space{o.Client, o.Outside, o.Space}[random.IntN(3)]
				if to.Addr().Is6() && from == o.Outside {
					from = o.Client
				}
				if random.IntN(3) == 0 { // what is not translated is not shown
					o.knock(from, "10.244.1.2:5353")
				}
				opened = append(opened, opening{from, to, o.knock(from, to.String()).Port()})
			}
			for _, c := range opened {
				var got observation.Event
				o.next(lines, &got)
				o.wantEvent(c, d, got)
			}
		}
	})
}

// opening is a connection from a namespace and port.
type opening struct {
	from *netnstest.Space
	to   netip.AddrPort
	port uint16
}

func (o *observed) wantEvent(c opening, d model.Desired, got observation.Event) {
	o.T.Helper()
	key := model.FrontendKey{Address: c.to.Addr(), Protocol: model.UDP, Port: c.to.Port()}
	if key.Address.String() == nodeAddress {
		key = key.NodePort()
	}
	f := d.Frontends[key]
	backend, node := f.Internal, ""
	switch c.from {
	case o.Outside:
		backend = f.External
	case o.Space:
		node = "node-1"
	}
	want := observation.Event{Node: "node-1", ClientNode: node, Service: "shop/" + f.Service.Name, Port: "dns", Kind: f.Kind, Destination: c.to.String() + "/udp"}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(observation.Event{}, "Time", "Client", "Endpoint")); diff != "" || got.Time.IsZero() ||
		!strings.HasSuffix(got.Client, fmt.Sprint(":", c.port)) {
		o.T.Fatalf("at %s from %s, port %d: (-want +got)\n%s", got.Time, got.Client, c.port, diff)
	}
	if !slices.ContainsFunc(backend.Endpoints, func(e model.Endpoint) bool { return e.String() == got.Endpoint }) {
		o.T.Errorf("%s from %s goes to %s, want one of %v", c.to, got.Client, got.Endpoint, backend.Endpoints)
	}
}

// TestShares checks that the endpoints get equal shares of 10,000 connections, as `explain` says of them.
func TestShares(t *testing.T) {
	const connections, endpoints = 10000, 5
	// Of chi-squared with four degrees of freedom one value in a million is larger: exp(-x/2)(1+x/2).
	const critical = 33.377
	onNodes(t, func(t *testing.T, o *observed) {
		d := settings()
		var all []string
		for i := range endpoints {
			all = append(all, fmt.Sprintf("10.244.1.%d:5353", i+2))
		}
		service(&d, "web", "10.96.0.1:53/udp", 0, desiredtest.ClusterIP(all...))
		service(&d, "other", "10.96.0.2:53/udp", 0, desiredtest.ClusterIP(all...))
		o.program(d)
		o.filter.Filter.Service = "shop/web"
		lines := o.start()
		go o.Client.Do(func() error {
			for i := range connections {
				if i%10 == 0 { // not observed
					if _, err := o.send("10.96.0.2:53"); err != nil {
						return err
					}
				}
				if _, err := o.send("10.96.0.1:53"); err != nil {
					return err
				}
			}
			return nil
		})
		count := map[string]int{}
		shown, lost := 0, 0
		for shown+lost < connections {
			var e observation.Event
			o.next(lines, &e)
			lost += int(e.Lost)
			if e.Lost > 0 {
				continue
			}
			shown++
			count[e.Endpoint]++
			if !slices.Contains(all, e.Endpoint) || e.Service != "shop/web" {
				t.Fatalf("%+v is no endpoint of %v", e, all)
			}
		}
		if shown < connections/2 {
			t.Fatalf("only %d connections are shown, %d lost", shown, lost)
		}
		expected := float64(shown) / endpoints
		chi := 0.0
		for _, e := range all {
			chi += (float64(count[e]) - expected) * (float64(count[e]) - expected) / expected
		}
		t.Logf("%d shown, %d lost, chi-squared %.1f", shown, lost, chi)
		if chi > critical {
			t.Errorf("shares of %d connections: %v, chi-squared %.1f", shown, count, chi)
		}
	})
}

// TestObservedChanges checks that connections to a Service that is new are shown, also if only those of
// a client are.
func TestObservedChanges(t *testing.T) {
	onNodes(t, func(t *testing.T, o *observed) {
		d := settings()
		service(&d, "old", "10.96.0.1:53/udp", 0, desiredtest.ClusterIP("10.244.1.2:5353"))
		o.program(d)
		o.filter.Clients = []netip.Addr{netip.MustParseAddr("10.244.2.2")}
		lines := o.start()
		d = d.Clone()
		service(&d, "new", "10.96.0.2:53/udp", 0, desiredtest.ClusterIP("10.244.1.3:5353"))
		o.program(d)
		o.knock(o.Outside, "10.96.0.2:53")
		o.knock(o.Client, "10.96.0.2:53")
		var e observation.Event
		if o.next(lines, &e); e.Service != "shop/new" || !strings.HasPrefix(e.Client, "10.244.2.2:") || e.Endpoint != "10.244.1.3:5353" {
			t.Errorf("shown: %+v", e)
		}
	})
}

// TestFollowedService checks that the kernel lets through what becomes a Service's, and that an
// observation ends with the mode.
func TestFollowedService(t *testing.T) {
	var questions int
	w := engine.Wanted{Mode: v1alpha1.ModeNFTables, Changes: 1, Desired: settings()}
	service(&w.Desired, "web", "10.96.0.1:53/udp", 0, desiredtest.ClusterIP("10.244.1.2:5353"))
	f := &follower{options: ObserveOptions{Node: "node-1", Modes: modes.All(), OwnClients: true, Addresses: func() ([]netip.Addr, error) { return []netip.Addr{loopback}, nil }},
		asks: asks{wanted: func() (engine.Wanted, error) { questions++; return w, nil }, changes: func() (uint64, error) { return w.Changes, nil }}}
	f.options.Filter.Service = "shop/web"
	if err := f.look(); err != nil {
		t.Fatal(err)
	}
	selected := 0
	again := func() error {
		f.next = time.Time{}
		return f.lookAgain(func() error { selected++; return nil })
	}
	if err := again(); err != nil || questions != 1 || selected != 0 {
		t.Errorf("nothing has changed: error %v, %d questions, %d selections", err, questions, selected)
	}
	w.Desired = w.Desired.Clone()
	service(&w.Desired, "web", "10.96.0.3:53/udp", 30053, desiredtest.ClusterIP("10.244.1.2:5353"))
	w.Changes++
	if err := again(); err != nil || questions != 2 || selected != 1 {
		t.Errorf("another address: error %v, %d questions, %d selections", err, questions, selected)
	}
	var got []string
	for _, d := range f.selection().Destinations {
		got = append(got, fmt.Sprint(d.Protocol, " ", netip.AddrPortFrom(d.Address, d.Port)))
	}
	if diff := cmp.Diff([]string{"17 0.0.0.0:30053", "17 10.96.0.1:53", "17 10.96.0.3:53"}, got); diff != "" || !slices.Equal(f.selection().Clients, []netip.Addr{loopback}) {
		t.Errorf("selected of %v: (-want +got)\n%s", f.selection().Clients, diff)
	}
	w.Changes++
	if err := f.lookAgain(func() error { selected++; return nil }); err != nil || questions != 2 {
		t.Errorf("at once: error %v, %d questions", err, questions)
	}
	for mode, want := range map[v1alpha1.ProxyMode]string{
		v1alpha1.ModeIPVS:      "connections cannot be observed in the mode IPVS: it works in NFTables and IPTables",
		v1alpha1.ModeUserspace: "connections cannot be observed in the mode Userspace: it works in NFTables and IPTables",
	} {
		w.Mode = mode
		w.Changes++
		if err := again(); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %q", mode, err, want)
		}
	}
}
