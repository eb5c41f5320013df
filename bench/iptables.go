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
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// The first arguments of the comparison in the mode IPTables, and of the process that
// measures one of its contenders.
const (
	iptablesCommand        = "iptables"
	measureIPTablesCommand = "measure-iptables"
)

const iptablesText = `# Benchmarks: iptables

The agent in the mode IPTables and kube-proxy v1.37.2 with --proxy-mode=iptables, with both variants of iptables, one after
the other in the same run, measured by ` + "`make bench-iptables`" + ` on %s.
%s
Every Service has a cluster IP, one port and %d endpoints. "Start" is from the start of the process until the proxy reports
that everything is in the kernel (the status "Programmed"; the end of the first sync). CPU and memory include the programs
that the process starts. Memory is read %s after the start; "peak" is the maximum of their sum. A change replaces one
endpoint of one Service, and is timed from the watch event to the first answer of the new endpoint to a client that polls;
each of the %d changes starts when the proxy is idle. A proxy that has not started after %s is stopped; its line shows what
it had used until then.

| variant | Services | proxy | start | CPU | RSS MiB | peak | one change p50 | p99 | CPU of a change | rules |
|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|
`

// iptablesResult are the measurements of a contender.
type iptablesResult struct {
	ipvsResult
	Rules int // in the kernel
}

// compareIPTables measures the agent and, if its binary is given, kube-proxy, and
// prints the page.
func (o options) compareIPTables(ctx context.Context) error {
	var page strings.Builder
	fmt.Fprintf(&page, iptablesText, time.Now().UTC().Format(time.DateOnly), machine(), endpointsEach, settling, o.changes, o.patience)
	for _, variant := range []string{"legacy", "nft"} {
		for services := range strings.SplitSeq(o.services, ",") {
			for _, name := range o.contenders() {
				fmt.Fprintln(os.Stderr, "measuring", services, "Services,", variant, name)
				var r iptablesResult
				if err := o.apart(ctx, &r, measureIPTablesCommand, services, name, variant); err != nil {
					return fmt.Errorf("%s with %s Services: %w", name, services, err)
				}
				if r.Unfinished {
					row(&page, variant, services, name, "> "+o.patience.String(), r.Start.CPU, r.Start.RSS, r.Peak, "", "", "", r.Rules)
					continue
				}
				row(&page, variant, services, name, r.Start.Took, r.Start.CPU, r.Start.RSS, r.Peak, r.Change.P50, r.Change.P99, r.ChangeCPU, r.Rules)
			}
		}
	}
	return o.print(page.String())
}

// measureIPTables measures one contender and prints the result as JSON. This process
// has a network namespace of its own.
func (o options) measureIPTables(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("want a number of Services, a proxy and a variant")
	}
	variant := args[2]
	if err := makeLocalNode(variant); err != nil {
		return err
	}
	return o.compete(ctx, v1alpha1.ModeIPTables, args[0], args[1], func(ctx context.Context, c cluster, p contender) (any, error) {
		if k, ok := p.(*kubeProxy); ok {
			var err error
			if k.path, err = programsOf(variant, k.dir); err != nil {
				return nil, err
			}
		}
		r, err := measureWithPackets(ctx, c, p, o.changes, o.patience)
		if err != nil {
			return nil, err
		}
		r.Rules, err = countRules(variant)
		return r, err
	})
}

// makeLocalNode makes all endpoints addresses of this network namespace, so that one
// server answers for all of them, and sets up the iptables variant of the node.
func makeLocalNode(variant string) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(nodeAddress + "/32")
	if err != nil {
		return err
	}
	_, all, err := net.ParseCIDR("10.0.0.0/8")
	if err != nil {
		return err
	}
	local := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}
	if err := errors.Join(netlink.AddrAdd(lo, address), netlink.RouteAdd(local)); err != nil {
		return err
	}
	return exec.Command("iptables-"+variant, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT").Run()
}

// programsOf returns a PATH in which iptables is of the given variant.
func programsOf(variant, dir string) (string, error) {
	dir = filepath.Join(dir, "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(family + "-" + variant + suffix)
			if err != nil {
				return "", err
			}
			if err := os.Symlink(path, filepath.Join(dir, family+suffix)); err != nil {
				return "", err
			}
		}
	}
	return dir + ":" + os.Getenv("PATH"), nil
}

func countRules(variant string) (int, error) {
	out, err := exec.Command("iptables-"+variant+"-save", "-t", "nat").Output()
	return strings.Count(string(out), "\n-A "), err
}

func measureWithPackets(ctx context.Context, c cluster, p contender, changes int, patience time.Duration) (r iptablesResult, err error) {
	server, err := net.Listen("tcp", ":8080")
	if err != nil {
		return r, err
	}
	defer server.Close()
	go answer(server)
	process, err := p.start(ctx)
	if err != nil {
		return r, err
	}
	defer process.kill()
	tree := watchTree(process.cmd.Process.Pid)
	if r.Start, r.Unfinished, err = startedWithin(ctx, p, patience); r.Unfinished {
		r.Start.RSS, _, err = process.memory()
	}
	if err != nil {
		return r, err
	}
	if r.Start.CPU, err = tree.cpu(); err != nil || r.Unfinished {
		r.Peak = tree.end()
		return r, err
	}
	before := r.Start.CPU
	all, err := followAll(ctx, c, p, changes, func(service, version int) error {
		return awaitAnswer(ctx, c, service, version)
	})
	if err != nil {
		return r, err
	}
	after, err := tree.cpu()
	if err != nil {
		return r, err
	}
	r.Change, r.ChangeCPU, r.Peak = distributionOf(all), (after-before)/time.Duration(changes), tree.end()
	return r, nil
}

// answer sends each client the address that it is connected to.
func answer(server net.Listener) {
	for {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_, _ = io.WriteString(conn, conn.LocalAddr().(*net.TCPAddr).IP.String()) // the client sees the error
		}()
	}
}

// awaitAnswer polls a Service until the endpoint that is new in a version answers. The
// endpoint that a version leaves out is one that all versions before it had.
func awaitAnswer(ctx context.Context, c cluster, service, version int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	old, added := addressesOf(c.endpoints(service, 0, endpointsEach)), ""
	for a := range addressesOf(c.endpoints(service, version, endpointsEach)) {
		if !old[a] {
			added = a
		}
	}
	to := net.JoinHostPort(c.service(service).Spec.ClusterIP, "80")
	for added != "" {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", to)
		if err != nil {
			return fmt.Errorf("the change of Service %d: %w", service, err)
		}
		got, err := io.ReadAll(conn)
		conn.Close()
		if err != nil {
			return err
		}
		if string(got) == added {
			return nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	return nil
}
