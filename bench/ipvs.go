// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// The first arguments of the comparison in the mode IPVS, and of the process that
// measures one of its contenders.
const (
	ipvsCommand        = "ipvs"
	measureIPVSCommand = "measure-ipvs"
)

// warmUp is a number of Services whose result is discarded.
const warmUp = "1"

const ipvsText = `# Benchmarks: IPVS

The agent in the mode IPVS and kube-proxy v1.37.2 with --proxy-mode=ipvs, one after the other in the same run, measured by
` + "`make bench-ipvs`" + ` on %s. On a machine without ip_vs it runs in QEMU, which is many
times slower: compare the lines with each other only.
%s
Every Service has a cluster IP, one port and %d endpoints. "Start" is from the start of the process until the proxy reports
that everything is in the kernel (the status "Programmed"; the end of the first sync), which is checked. RSS is read %s
after the start; "peak" includes the changes. Programs that the process starts (ipset, iptables) are not counted, neither
their memory nor their CPU time. A change replaces one endpoint of one Service, and is timed from the watch event until the
kernel has the new endpoint and schedules no new connections to the old one; each of the %d changes starts when the proxy is
idle. Both proxies run with one Service first, because the first start reads the binaries and loads the kernel's modules. A proxy that has not started after %s
is stopped; its line shows what it had used until then.

| Services | proxy | start | CPU | RSS MiB | peak | one change p50 | slowest | CPU of a change |
|--:|---|--:|--:|--:|--:|--:|--:|--:|
`

// ipvsResult are the measurements of a contender.
type ipvsResult struct {
	Start     agentStart
	Change    distribution
	Slowest   time.Duration
	ChangeCPU time.Duration // of one
	Peak      int           // MiB

	Unfinished bool // it had not started within the patience
}

// compareIPVS measures the agent and, if its binary is given, kube-proxy, and
// prints the page.
func (o options) compareIPVS(ctx context.Context) error {
	var page strings.Builder
	fmt.Fprintf(&page, ipvsText, time.Now().UTC().Format(time.DateOnly), machine(), endpointsEach, settling, o.changes, o.patience)
	// The very first start reads the binaries and loads the kernel's modules.
	for _, services := range append([]string{warmUp}, strings.Split(o.services, ",")...) {
		for _, name := range o.contenders() {
			fmt.Fprintln(os.Stderr, "measuring", services, "Services,", name)
			var r ipvsResult
			if err := o.apart(ctx, &r, measureIPVSCommand, services, name); err != nil {
				return fmt.Errorf("%s with %s Services: %w", name, services, err)
			}
			if services == warmUp {
				continue
			}
			if r.Unfinished {
				row(&page, services, name, "> "+o.patience.String(), r.Start.CPU, r.Start.RSS, r.Start.Peak, "", "", "")
				continue
			}
			row(&page, services, name, r.Start.Took, r.Start.CPU, r.Start.RSS, r.Peak, r.Change.P50, r.Slowest, r.ChangeCPU)
		}
	}
	return o.print(page.String())
}

// measureIPVS measures one contender and prints the result as JSON. This process has
// a network namespace of its own.
func (o options) measureIPVS(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want a number of Services and a proxy")
	}
	if err := makeNode(); err != nil {
		return err
	}
	return o.compete(ctx, v1alpha1.ModeIPVS, args[0], args[1], func(ctx context.Context, c cluster, p contender) (any, error) {
		return measureContender(ctx, c, p, o.changes, o.patience)
	})
}

// makeNode configures this network namespace like a node: without routes the kernel
// rejects real servers.
func makeNode() error {
	if err := loopbackUp(); err != nil {
		return err
	}
	eth := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}
	address, err := netlink.ParseAddr(nodeAddress + "/24")
	if err != nil {
		return err
	}
	if err := netlink.LinkAdd(eth); err != nil {
		return fmt.Errorf("add a dummy device: %w", err)
	}
	gateway := net.ParseIP("192.0.2.1")
	return errors.Join(netlink.AddrAdd(eth, address), netlink.LinkSetUp(eth),
		netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Index, Gw: gateway}))
}

func measureContender(ctx context.Context, c cluster, p contender, changes int, patience time.Duration) (r ipvsResult, err error) {
	handle, err := ipvs.New("")
	if err != nil {
		return r, err
	}
	defer handle.Close()
	// Otherwise the kernel does it while the next contender is measured.
	defer func() { err = errors.Join(err, handle.Flush()) }()
	process, err := p.start(ctx)
	if err != nil {
		return r, err
	}
	defer process.kill()
	if r.Start, r.Unfinished, err = startedWithin(ctx, p, patience); r.Unfinished {
		r.Start.CPU, err = process.cpu()
		var memoryErr error
		r.Start.RSS, r.Start.Peak, memoryErr = process.memory()
		return r, errors.Join(err, memoryErr)
	} else if err != nil {
		return r, err
	}
	if err := complete(c); err != nil {
		return r, err
	}
	before, err := process.cpu()
	if err != nil {
		return r, err
	}
	all, err := followAll(ctx, c, p, changes, func(service, version int) error {
		return awaitEndpoints(ctx, handle, c, service, version)
	})
	if err != nil {
		return r, err
	}
	after, err := process.cpu()
	if err != nil {
		return r, err
	}
	r.Change, r.ChangeCPU = distributionOf(all), (after-before)/time.Duration(changes)
	for _, d := range all {
		r.Slowest = max(r.Slowest, d)
	}
	_, r.Peak, err = process.memory()
	return r, err
}

// complete checks that the kernel has all real servers.
func complete(c cluster) error {
	f, err := os.Open("/proc/net/ip_vs")
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	// Three lines are the header; one of them looks like a real server.
	if got, want := strings.Count(string(text), "\n  -> ")-1, c.services*endpointsEach; got != want {
		return fmt.Errorf("the kernel has %d real servers, want %d", got, want)
	}
	return nil
}

// awaitEndpoints waits until the kernel sends new connections to exactly the
// endpoints of a version of a Service.
func awaitEndpoints(ctx context.Context, handle *ipvs.Handle, c cluster, service, version int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	want := addressesOf(c.endpoints(service, version, endpointsEach))
	server := &ipvs.Service{AddressFamily: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Port: 80,
		Address: net.ParseIP(c.service(service).Spec.ClusterIP).To4()}
	for {
		list, err := handle.GetDestinations(server)
		if err != nil {
			return err
		}
		found, others := 0, 0
		for _, d := range list {
			switch {
			case d.Weight == 0:
			case want[d.Address.String()]:
				found++
			default:
				others++
			}
		}
		if found == len(want) && others == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the change of Service %d is not in the kernel: %w", service, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

func addressesOf(s *discoveryv1.EndpointSlice) map[string]bool {
	out := map[string]bool{}
	for _, e := range s.Endpoints {
		out[e.Addresses[0]] = true
	}
	return out
}
