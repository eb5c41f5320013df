// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// reported are flows, as of an agent with one mode, and how many follow them.
type reported struct {
	dataplane.Flows
	followers chan int
}

// newReported serves observers of flows until the test ends.
func newReported(t *testing.T) (r *reported, folder string) {
	r = &reported{followers: make(chan int, 1)}
	r.followers <- 0
	change := func(n int) { r.followers <- n + <-r.followers }
	folder = t.TempDir()
	serveObservers(t, folder, func(take func(observation.Flow)) func() {
		stop := r.Follow(take)
		change(1)
		return func() { stop(); change(-1) }
	})
	return r, folder
}

// await waits until a number of observers follow.
func (r *reported) await(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		n := <-r.followers
		r.followers <- n
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d observers follow, want %d", n, want)
		}
	}
}

func flowOf(client, destination string) observation.Flow {
	return observation.Flow{Protocol: model.TCP, Client: netip.MustParseAddrPort(client),
		Destination: netip.MustParseAddrPort(destination), Endpoint: netip.MustParseAddrPort("10.244.1.2:8080")}
}

func openSelected(t *testing.T, folder string, s conntrack.Selection) *proxied {
	t.Helper()
	p, err := openProxied(t.Context(), folder, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() }) // it may be closed already
	return p
}

// take returns what is sent up to the flow of a client, and how many flows were dropped.
func (p *proxied) take(t *testing.T, last string) (clients []string, dropped uint32) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	seen := false
	err := p.Follow(ctx, func(f observation.Flow) {
		clients = append(clients, f.Client.String())
		seen = seen || f.Client.String() == last
	}, func(d uint32) error {
		if dropped = d; seen {
			stop()
		}
		return nil
	})
	if err != nil || !seen {
		t.Fatalf("the last of %d flows is not sent, error %v", len(clients), err)
	}
	return clients, dropped
}

// TestSelected checks that an observer gets the flows that it has selected last.
func TestSelected(t *testing.T) {
	r, folder := newReported(t)
	clients := []netip.Addr{netip.MustParseAddr("10.244.2.2"), netip.MustParseAddr("fd00:244::2")}
	destinations := []conntrack.Destination{{Protocol: uint8(model.TCP), Address: netip.MustParseAddr("10.96.0.1"), Port: 80},
		{Protocol: uint8(model.TCP), Address: netip.IPv4Unspecified(), Port: 30080}}
	udp := flowOf("10.244.2.2:6", "10.96.0.1:80")
	udp.Protocol = model.UDP
	flows := []observation.Flow{
		flowOf("10.244.2.2:1", "10.96.0.1:80"), flowOf("10.244.2.2:2", "10.96.0.1:81"), flowOf("10.244.2.3:3", "10.96.0.1:80"),
		flowOf("10.244.2.2:4", "192.168.0.2:30080"), flowOf("[fd00:244::2]:5", "[fd00:96::1]:80"), udp,
	}
	for name, c := range map[string]struct {
		selection conntrack.Selection
		want      string
	}{
		"everything":                   {conntrack.Selection{}, "1 2 3 4 5 6"},
		"clients":                      {conntrack.Selection{Clients: clients}, "1 2 4 5 6"},
		"destinations":                 {conntrack.Selection{Destinations: destinations}, "1 3 4"},
		"both":                         {conntrack.Selection{Clients: clients, Destinations: destinations}, "1 4"},
		"no client":                    {conntrack.Selection{Clients: []netip.Addr{}}, ""},
		"a Service without an address": {conntrack.Selection{Destinations: []conntrack.Destination{}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := openSelected(t, folder, c.selection)
			for _, f := range flows {
				r.Report(f)
			}
			// Another selection applies some time after it was sent.
			if err := p.Select(conntrack.Selection{Clients: []netip.Addr{netip.MustParseAddr("10.7.0.1")}}); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go func() {
				for ctx.Err() == nil {
					r.Report(flowOf("10.7.0.1:7", "10.96.0.1:80"))
					time.Sleep(10 * time.Millisecond)
				}
			}()
			got, dropped := p.take(t, "10.7.0.1:7")
			ports := ""
			for _, client := range got {
				if port := client[strings.LastIndex(client, ":")+1:]; port != "7" {
					ports += " " + port
				}
			}
			if ports = strings.TrimSpace(ports); ports != c.want || dropped != 0 {
				t.Errorf("the flows %s are sent and %d dropped, want %s", ports, dropped, c.want)
			}
		})
	}
}

// TestSlowObserver checks that an observer that does not read delays no connection, costs little memory, and learns how
// many flows it has missed.
func TestSlowObserver(t *testing.T) {
	const flows = 20 * maxQueued
	r, folder := newReported(t)
	p := openSelected(t, folder, conntrack.Selection{})
	for i := range flows { // with an observer that is waited for it does not end
		r.Report(flowOf(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "10.96.0.1:80"))
	}
	// What comes when there is room again is sent.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	late := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ; ctx.Err() == nil; late++ {
			r.Report(flowOf("192.0.2.1:1", "10.96.0.1:80"))
			time.Sleep(10 * time.Millisecond)
		}
	}()
	got, dropped := p.take(t, "192.0.2.1:1")
	stop()
	<-ended
	early := 0
	for _, client := range got {
		if strings.HasPrefix(client, "10.") {
			early++
		}
	}
	if lost := int(dropped); lost == 0 || early+lost < flows || early+lost > flows+late || early > flows/2 {
		t.Errorf("%d flows are sent and %d are dropped, of %d and %d after them", early, lost, flows, late)
	}
}

// TestObservers checks that there are only some observers, and that nothing stays of one that ends.
func TestObservers(t *testing.T) {
	r, folder := newReported(t)
	var all []*proxied
	for range maxObservers {
		all = append(all, openSelected(t, folder, conntrack.Selection{}))
	}
	r.await(t, maxObservers)
	if _, err := openProxied(t.Context(), folder, conntrack.Selection{}); err == nil || !strings.Contains(err.Error(), "the agent answers: 8 observers are served already") {
		t.Errorf("one more: error %v", err)
	}
	r.Report(flowOf("10.244.2.2:1", "10.96.0.1:80"))
	for i, p := range all {
		if got, _ := p.take(t, "10.244.2.2:1"); len(got) != 1 {
			t.Errorf("observer %d gets %v", i, got)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		r.await(t, maxObservers-1-i)
	}
	openSelected(t, folder, conntrack.Selection{})
	r.await(t, 1)
}
