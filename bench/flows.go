// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
)

// The first arguments of the processes that measure the agent under traffic, and
// passes over the conntrack table.
const (
	flowsCommand  = "flows"
	passesCommand = "passes"
)

const (
	// flowChanges endpoints are replaced, one each flowPause, while flowRate
	// connections are opened a second.
	flowChanges  = 130
	flowPause    = 150 * time.Millisecond
	flowRate     = 500
	flowServices = 1000

	// passes is how often each pass over the conntrack table is measured.
	passes = 10

	conntrackMax = "/proc/sys/net/netfilter/nf_conntrack_max"
)

// flowEntries are the numbers of conntrack entries to measure with.
var flowEntries = []int{0, 100_000, 1_000_000}

// flowsResult is what existing flows cost.
type flowsResult struct {
	Passes []pass

	// The processor time of the agent for flowChanges changes under traffic, how
	// long these took, and how many connections were opened and failed during them.
	CPU, Took      time.Duration
	Opened, Failed int64
}

// pass is the processor time of one pass over the conntrack table: one that selects
// nothing, and one that selects all entries.
type pass struct {
	Entries int
	Error   string // why there are no more
	None    time.Duration
	All     time.Duration
}

// compareFlows measures flows, in processes of their own.
func (o options) compareFlows(ctx context.Context) (r flowsResult, err error) {
	restore, err := raiseConntrackMax(flowEntries[len(flowEntries)-1] + 100_000)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err) // then there are fewer entries
	}
	err = errors.Join(o.apart(ctx, &r, flowsCommand), o.apart(ctx, &r.Passes, passesCommand))
	return r, errors.Join(err, restore())
}

// raiseConntrackMax raises the machine's limit of conntrack entries, which network
// namespaces share, and returns what restores it.
func raiseConntrackMax(to int) (restore func() error, err error) {
	restore = func() error { return nil }
	text, err := os.ReadFile(conntrackMax)
	if err != nil {
		return restore, err
	}
	before, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || before >= to {
		return restore, err
	}
	if err := os.WriteFile(conntrackMax, []byte(strconv.Itoa(to)), 0); err != nil {
		return restore, err
	}
	return func() error { return os.WriteFile(conntrackMax, text, 0) }, nil
}

// measureFlows measures and prints the result as JSON. This process is alone in its
// network namespace.
func (o options) measureFlows(ctx context.Context) error {
	if err := errors.Join(loopbackUp(), allIsLocal()); err != nil {
		return err
	}
	var r flowsResult
	if err := r.traffic(ctx, o.agent); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// measurePasses measures and prints the result as JSON. This process is alone in its
// network namespace.
func (o options) measurePasses(ctx context.Context) error {
	all, err := passesOf(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// allIsLocal gives the node its address, and makes Services and Pods reachable
// through the loopback.
func allIsLocal() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(nodeAddress + "/32")
	if err != nil {
		return err
	}
	dst, err := netlink.ParseIPNet("10.0.0.0/8")
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(lo, address), netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst,
		Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}))
}

// passesOf measures passes over tables of all sizes.
func passesOf(ctx context.Context) ([]pass, error) {
	table := conntrack.NewTable(0)
	defer table.Close()
	var out []pass
	filled := 0
	for _, entries := range flowEntries {
		p := pass{Entries: entries}
		for ; filled < entries; filled++ {
			client := netip.AddrPortFrom(netip.MustParseAddr(nth("10.129.0.0", filled/50_000)), uint16(1024+filled%50_000))
			if err := table.Establish(client, netip.MustParseAddrPort("10.96.0.10:80")); err != nil {
				p.Entries, p.Error = filled, err.Error()
				break
			}
		}
		for _, f := range []struct {
			filter conntrack.Filter
			cpu    *time.Duration
		}{
			{conntrack.Filter{Protocol: unix.IPPROTO_TCP, Unanswered: true}, &p.None},
			{conntrack.Filter{Protocol: unix.IPPROTO_TCP}, &p.All},
		} {
			before, err := ownCPU()
			if err != nil {
				return nil, err
			}
			for range passes {
				if err := table.Dump(ctx, f.filter, func(conntrack.Entry) {}); err != nil {
					return nil, err
				}
			}
			after, err := ownCPU()
			if err != nil {
				return nil, err
			}
			*f.cpu = (after - before) / passes
		}
		out = append(out, p)
		if p.Error != "" {
			break
		}
	}
	return out, nil
}

// ownCPU is the processor time that this process has taken.
func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// traffic replaces endpoints while connections are opened to Services.
func (r *flowsResult) traffic(ctx context.Context, program string) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := cluster{services: flowServices}
	api, err := startAPIServer(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.close()) }()
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	agent, err := start(ctx, program, dir, api)
	if err != nil {
		return err
	}
	defer agent.kill()
	if _, err := agent.started(ctx, c); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	pods, err := net.Listen("tcp", ":8080") // of all endpoints
	if err != nil {
		return err
	}
	go acceptAll(pods)
	var clients sync.WaitGroup
	var opened, failed atomic.Int64
	busy, idle := context.WithCancel(ctx)
	clients.Go(func() { openConnections(busy, c, &opened, &failed) })
	begun := time.Now()
	_, r.CPU, err = agent.follow(ctx, c, flowChanges, flowPause)
	r.Took = time.Since(begun)
	idle()
	clients.Wait()
	r.Opened, r.Failed = opened.Load(), failed.Load()
	return errors.Join(err, pods.Close())
}

func acceptAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.Close() // the client has closed it, too
	}
}

// openConnections opens connections to Services, and closes them.
func openConnections(ctx context.Context, c cluster, opened, failed *atomic.Int64) {
	tick := time.NewTicker(time.Second / flowRate)
	defer tick.Stop()
	var all sync.WaitGroup
	defer all.Wait()
	dialer := net.Dialer{Timeout: 5 * time.Second}
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		all.Go(func() {
			conn, err := dialer.Dial("tcp", net.JoinHostPort(nth("10.96.0.0", i%c.services+1), "80"))
			if err != nil {
				if failed.Add(1) == 1 {
					fmt.Fprintln(os.Stderr, "bench:", err)
				}
				return
			}
			opened.Add(1)
			_ = conn.Close() // the server has closed it, too
		})
	}
}
