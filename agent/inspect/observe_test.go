// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

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
			opened := map[string]opening{} // by the client's port
			for range 30 {
				to := netip.MustParseAddrPort(places[random.IntN(len(places))])
				from := []*netnstest.Space{o.Client, o.Outside, o.Space}[random.IntN(3)]
				if to.Addr().Is6() && from == o.Outside {
					from = o.Client
				}
				if random.IntN(3) == 0 { // what is not translated is not shown
					o.knock(from, "10.244.1.2:5353")
				}
				port := o.knock(from, to.String()).Port()
				opened[fmt.Sprint(port)] = opening{from, "udp", to, port}
			}
			for len(opened) > 0 {
				var got observation.Event
				o.next(lines, &got)
				port := got.Client[strings.LastIndex(got.Client, ":")+1:]
				c, is := opened[port]
				if !is {
					t.Fatalf("%+v is no connection that was opened, or is shown again", got)
				}
				o.wantEvent(c, d, got)
				delete(opened, port)
			}
		}
	})
}

// TestAnswers connects from everywhere, with both protocols and families: the endpoint that is shown is the one that has answered.
func TestAnswers(t *testing.T) {
	onNodes(t, func(t *testing.T, o *observed) {
		d := settings()
		for _, f := range []struct{ vip, node, a, b string }{
			{"10.96.0.1", nodeAddress, "10.244.1.2:5353", "10.244.1.3:5353"},
			{"[fd00:96::1]", nodeAddress6, "[fd00:244::2]:5353", "[fd00:244::3]:5353"},
		} {
			o.Serve(f.a, f.b)
			for _, network := range []string{"udp", "tcp"} {
				service(&d, "web", f.vip+":53/"+network, 30053, desiredtest.ClusterIP(f.a, f.b), desiredtest.ForwardTo(model.MasqueradeAlways, f.b))
			}
		}
		o.program(d)
		lines := o.start()
		for _, network := range []string{"udp", "tcp"} {
			for _, to := range []string{"10.96.0.1:53", nodeAddress + ":30053", "[fd00:96::1]:53", "[" + nodeAddress6 + "]:30053"} {
				for _, from := range []*netnstest.Space{o.Client, o.Outside, o.Space} {
					port, answered := o.ask(from, network, to)
					var got observation.Event
					o.next(lines, &got)
					o.wantEvent(opening{from, network, netip.MustParseAddrPort(to), port}, d, got)
					if got.Endpoint != answered {
						t.Errorf("%s has answered, and %+v is shown", answered, got)
					}
				}
			}
		}
	})
}

// ask connects from a port, and returns which endpoint answers.
func (o *observed) ask(from *netnstest.Space, network, to string) (port uint16, endpoint string) {
	o.T.Helper()
	conn, err := o.Dial(from, network, to, time.Minute)
	if err == nil {
		_, err = conn.Write([]byte("?"))
	}
	if err != nil {
		o.T.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		o.T.Fatal(err)
	}
	endpoint, _, _ = strings.Cut(line, " ")
	return netip.MustParseAddrPort(conn.LocalAddr().String()).Port(), endpoint
}

// TestShares checks that the endpoints get equal shares of connections, as `explain` says of them.
func TestShares(t *testing.T) {
	const endpoints = 5
	// Of chi-squared with four degrees of freedom one value in a million is larger: exp(-x/2)(1+x/2).
	const critical = 33.377
	onNodes(t, func(t *testing.T, o *observed) {
		// Modes that choose in turn need few. An agent that opens connections itself has little room for those
		// that wait for it.
		connections, atOnce, random := 1000, 100, o.mode.Kind == dataplane.NAT
		if random {
			connections, atOnce = 10000, 1000
		}
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
		count := map[string]int{}
		sent, shown, lost := 0, 0, 0
		for sent < connections {
			sent += atOnce
			o.Client.Do(func() error {
				for i := range atOnce {
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
			for shown+lost < sent {
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
		}
		if shown < connections/2 {
			t.Fatalf("only %d connections are shown, %d lost", shown, lost)
		}
		expected := float64(shown) / endpoints
		chi, least, most := 0.0, shown, 0
		for _, e := range all {
			chi += (float64(count[e]) - expected) * (float64(count[e]) - expected) / expected
			least, most = min(least, count[e]), max(most, count[e])
		}
		t.Logf("%d shown, %d lost, shares of %d to %d, chi-squared %.1f", shown, lost, least, most, chi)
		if random && chi > critical || !random && most > least+1+lost {
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
	for _, c := range []struct {
		mode v1alpha1.ProxyMode
		want string
	}{
		{v1alpha1.ModeIPVS, ""}, {v1alpha1.ModeUserspace, errMoved.Error()}, {v1alpha1.ModeUserspace, ""}, {v1alpha1.ModeNFTables, errMoved.Error()},
		{"Other", "this program has no mode Other"},
	} {
		w.Mode = c.mode
		w.Changes++
		got := ""
		if err := again(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: error %q, want %q", c.mode, got, c.want)
		}
	}
}

// TestObservedMode checks that an observation goes on when the mode changes, where the mode has its connections.
func TestObservedMode(t *testing.T) {
	byName := map[v1alpha1.ProxyMode]dataplane.Mode{}
	for _, m := range modes.All() {
		byName[m.Name] = m
	}
	o := newObserved(t, byName[v1alpha1.ModeUserspace])
	o.interval = 10 * time.Millisecond
	d := settings()
	service(&d, "web", "10.96.0.1:53/udp", 0, desiredtest.ClusterIP("10.244.1.2:5353"))
	o.program(d)
	lines := o.start()
	shown := make(chan observation.Event)
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	go func() {
		for lines.Scan() {
			var e observation.Event
			_ = json.Unmarshal(lines.Bytes(), &e) // it is another event then
			select {
			case shown <- e:
			case <-ended:
				return
			}
		}
	}()
	for _, mode := range []v1alpha1.ProxyMode{v1alpha1.ModeUserspace, v1alpha1.ModeNFTables, v1alpha1.ModeUserspace} {
		if mode != o.mode.Name {
			o.change(byName[mode], d)
		}
		deadline := time.Now().Add(2 * time.Minute)
		for seen := false; !seen; { // those that are opened before it looks are missing
			port := o.knock(o.Client, "10.96.0.1:53").Port()
			select {
			case e := <-shown:
				seen = strings.HasSuffix(e.Client, fmt.Sprint(":", port))
				if e.Service != "shop/web" || e.Endpoint != "10.244.1.2:5353" {
					t.Fatalf("%s: shown: %+v", mode, e)
				}
			case <-time.After(100 * time.Millisecond):
				if time.Now().After(deadline) {
					t.Fatalf("%s: no connection is shown", mode)
				}
			}
		}
	}
}
