// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
}

// build creates a separate network, because a lab may be running.
func build(t *testing.T) *Topology {
	t.Helper()
	needsRoot(t)
	topology := New(fmt.Sprintf("flt-%d-", os.Getpid()), 3)
	t.Cleanup(func() {
		if err := topology.Teardown(); err != nil {
			t.Errorf("teardown: %v", err)
		}
	})
	if err := topology.Build(); err != nil {
		t.Fatal(err)
	}
	return topology
}

// serveAddress answers every connection to port 80 of a namespace with the address
// that it came from.
func serveAddress(t *testing.T, netnsPath string) {
	t.Helper()
	listener, err := Listen(netnsPath, "[::]:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr().Unmap().String())
			conn.Close()
		}
	}()
}

// seenFrom connects from a namespace to an address and returns the source
// address that the other side saw.
func seenFrom(netnsPath string, to netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := DialContext(netnsPath)(ctx, "tcp", net.JoinHostPort(to.String(), "80"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

func TestEveryoneReachesEveryone(t *testing.T) {
	topology := build(t)
	type place struct {
		netns  string
		v4, v6 netip.Addr
	}
	places := map[string]place{}
	for _, host := range topology.Hosts() {
		places[host.Name] = place{host.NetNSPath, host.IPv4, host.IPv6}
		serveAddress(t, host.NetNSPath)
	}
	targets := maps.Clone(places)
	for _, node := range topology.Nodes {
		// A Pod needs only that its range is routed to the node.
		pod := place{node.NetNSPath, numbered(node.PodCIDRv4, 2), numbered(node.PodCIDRv6, 2)}
		targets["a Pod on "+node.Name] = pod
		space, err := open(node.NetNSPath)
		if err != nil {
			t.Fatal(err)
		}
		defer space.close()
		for _, address := range []netip.Addr{pod.v4, pod.v6} {
			if err := space.addAddress("lo", address, address.BitLen()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for fromName, from := range places {
		for toName, to := range targets {
			if from.netns == to.netns {
				continue
			}
			for _, pair := range [][2]netip.Addr{{from.v4, to.v4}, {from.v6, to.v6}} {
				got, err := seenFrom(from.netns, pair[1])
				if err != nil {
					t.Errorf("%s to %s: %v", fromName, toName, err)
					continue
				}
				if got != pair[0].String() {
					t.Errorf("%s to %s came from %s, want %s", fromName, toName, got, pair[0])
				}
			}
		}
	}
}

// The outside reaches the ranges of Services at node-1. Others must have rules of their own:
// what they send there gets nowhere.
func TestServiceRanges(t *testing.T) {
	topology := build(t)
	node := topology.Nodes[0]
	serveAddress(t, node.NetNSPath)
	space, err := open(node.NetNSPath)
	if err != nil {
		t.Fatal(err)
	}
	defer space.close()
	for _, cidr := range ServiceCIDRs {
		service := cidr.Addr().Next()
		if err := space.addAddress("lo", service, service.BitLen()); err != nil {
			t.Fatal(err)
		}
		for _, host := range topology.Hosts() {
			got, err := seenFrom(host.NetNSPath, service)
			reached := host.Name == topology.Client.Name || host.Name == node.Name
			if reached && err != nil || !reached && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
				t.Errorf("%s to %s: answer %q, error %v; want an answer: %v", host.Name, service, got, err, reached)
			}
		}
	}
}

func TestTeardownLeavesNothing(t *testing.T) {
	needsRoot(t)
	before := traces(t)
	topology := build(t)
	if diff := cmp.Diff(before.Links, traces(t).Links); diff != "" {
		t.Errorf("links of the host changed (-before +after):\n%s", diff)
	}
	// Another Topology of the same name: a later process that cleans up.
	if err := New(topology.prefix, 3).Teardown(); err != nil {
		t.Fatal(err)
	}
	names, err := Names(topology.prefix)
	if err != nil || len(names) > 0 {
		t.Errorf("namespaces left: %v, %v", names, err)
	}
	if diff := cmp.Diff(before, traces(t)); diff != "" {
		t.Errorf("traces left on the host (-before +after):\n%s", diff)
	}
}

func TestThreadsComeHome(t *testing.T) {
	topology := build(t)
	home, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // whichever thread the runtime picks
		path := pathOf(topology.prefix + "home")
		if err := createNamespace(path); err != nil {
			t.Fatal(err)
		}
		if err := deleteNamespace(path); err != nil {
			t.Fatal(err)
		}
		if link, err := os.Readlink("/proc/self/ns/net"); err != nil || link != home {
			t.Fatalf("the process shows %s, %v, want %s", link, err, home)
		}
	}
}

func TestDoComesBack(t *testing.T) {
	topology := build(t)
	home, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var inside string
	err = Do(topology.Client.NetNSPath, func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	})
	if err != nil || inside == home {
		t.Errorf("inside %s, outside %s, %v", inside, home, err)
	}
	for range 50 { // whichever thread the runtime picks
		done := make(chan string)
		go func() {
			link, _ := os.Readlink("/proc/thread-self/ns/net")
			done <- link
		}()
		if link := <-done; link != home {
			t.Fatalf("a goroutine runs in %s, want %s", link, home)
		}
	}
	if err := Do(topology.Client.NetNSPath+"-none", func() error { return nil }); err == nil {
		t.Error("no error for a namespace that does not exist")
	}
}

func TestDialRefusesNames(t *testing.T) {
	if _, err := DialContext("/nowhere")(context.Background(), "tcp", "localhost:80"); err == nil {
		t.Error("no error for a host name")
	}
}

type hostTraces struct {
	Links  []string
	Routes int
}

// traces is what the lab must not change in the host's namespace.
func traces(t *testing.T) hostTraces {
	t.Helper()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	return hostTraces{Links: linksOf(t, "/proc/self/ns/net"), Routes: len(routes)}
}

func linksOf(t *testing.T, netnsPath string) []string {
	t.Helper()
	space, err := open(netnsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer space.close()
	links, err := space.handle.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, link := range links {
		names = append(names, link.Attrs().Name)
	}
	return names
}
