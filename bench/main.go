// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the cost of Fairlead on a node by cluster size: the time
// to program everything, the time and the kernel operations of one changed endpoint,
// and the memory of the agent. It prints a page of Markdown, see
// docs/benchmarks.md.
//
// Each size is measured in its own process and network namespace: sizes do not
// influence each other, and the machine's rules are not touched.
//
//	main ── a process for each size and shape, in a new network namespace:
//	        kernel.go  Resolve, Table and Dataplane, called directly
//	        agent.go   the agent binary, with a fake apiserver (apiserver.go)
//	        ipvs.go    the agent and kube-proxy in the mode IPVS (contenders.go)
//	        iptables.go the same in the mode IPTables, with both variants
//	        giant.go   an oversized Service in each mode, by the agent's loop
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// measureCommand is the first argument of the process that measures one cluster.
const measureCommand = "measure"

type options struct {
	agent     string
	services  string
	changes   int
	out       string
	kubeProxy string
	patience  time.Duration
}

func main() {
	// Children get a signal when the thread that started them ends.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.agent, "agent", "bin/fairlead-agent", "path of the agent binary")
	flag.StringVar(&o.services, "services", "1000,10000,50000", "numbers of Services to measure")
	flag.IntVar(&o.changes, "changes", 100, "endpoints to replace, one after the other")
	flag.StringVar(&o.out, "out", "", "file to write the page to; empty: print it only")
	flag.StringVar(&o.kubeProxy, "kube-proxy", "", "path of the kube-proxy binary to compare with in the modes IPVS and IPTables")
	flag.DurationVar(&o.patience, "patience", 15*time.Minute, "how long a compared proxy may take to start")
	flag.Parse()
	run := o.run
	switch flag.Arg(0) {
	case measureCommand:
		run = apartOnly(func(ctx context.Context) error { return o.measure(ctx, flag.Args()[1:]) })
	case flowsCommand:
		run = apartOnly(o.measureFlows)
	case passesCommand:
		run = apartOnly(o.measurePasses)
	case ipvsCommand:
		run = o.compareIPVS
	case iptablesCommand:
		run = o.compareIPTables
	case measureIPTablesCommand:
		run = apartOnly(func(ctx context.Context) error { return o.measureIPTables(ctx, flag.Args()[1:]) })
	case giantCommand:
		run = o.printGiants
	case measureGiantCommand:
		run = apartOnly(func(ctx context.Context) error { return o.measureGiant(ctx, flag.Args()[1:]) })
	case measureIPVSCommand:
		run = apartOnly(func(ctx context.Context) error { return o.measureIPVS(ctx, flag.Args()[1:]) })
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures all sizes and prints the page.
func (o options) run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to make network namespaces")
	}
	var results []result
	for text := range strings.SplitSeq(o.services, ",") {
		services, err := strconv.Atoi(text)
		if err != nil || services < 1 || services > maxServices {
			return fmt.Errorf("-services: %q is not a number from 1 to %d", text, maxServices)
		}
		for _, full := range []bool{false, true} {
			c := cluster{services: services, full: full}
			fmt.Fprintln(os.Stderr, "measuring", c)
			var r result
			if err := o.apart(ctx, &r, measureCommand, strconv.Itoa(c.services), c.shape()); err != nil {
				return fmt.Errorf("%s: %w", c, err)
			}
			results = append(results, r)
		}
	}
	pure, err := measurePure(results[len(results)-1].Services)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "measuring flows")
	flows, err := o.compareFlows(ctx)
	if err != nil {
		return fmt.Errorf("flows: %w", err)
	}
	giants, err := o.measureGiants(ctx)
	if err != nil {
		return fmt.Errorf("an oversized Service: %w", err)
	}
	var page strings.Builder
	if err := writePage(&page, results, pure, flows, giants, o.changes); err != nil {
		return err
	}
	return o.print(page.String())
}

func (o options) print(page string) error {
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(page), 0o644); err != nil {
			return fmt.Errorf("write the page: %w", err)
		}
	}
	_, err := io.WriteString(os.Stdout, page)
	return err
}

// result are the measurements of a cluster.
type result struct {
	Services int
	Shape    string
	Kernel   kernelResult
	Agent    agentResult
}

// apart runs a command of this program in a new process in a new network namespace.
func (o options) apart(ctx context.Context, result any, command ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"-agent", o.agent, "-kube-proxy", o.kubeProxy,
		"-changes", strconv.Itoa(o.changes), "-patience", o.patience.String()}, command...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	return json.Unmarshal(out, result)
}

// apartOnly returns a command that programs its network namespace, and fails in the one of a machine:
// routes and rules would stay there.
func apartOnly(command func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, link := range links {
			if link.Flags&(net.FlagUp|net.FlagLoopback) == net.FlagUp {
				return fmt.Errorf("this network namespace is in use (%s is up); start it with `unshare --net`", link.Name)
			}
		}
		return command(ctx)
	}
}

// measure measures one cluster and prints the result as JSON. This process has a
// network namespace of its own.
func (o options) measure(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want a number of Services and a shape")
	}
	services, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	c := cluster{services: services, full: args[1] == shapeFull}
	r := result{Services: services, Shape: c.shape()}
	if err := loopbackUp(); err != nil {
		return err
	}
	if r.Kernel, err = measureKernel(ctx, c, o.changes); err != nil {
		return err
	}
	if r.Agent, err = measureAgent(ctx, c, o.agent, o.changes); err != nil {
		return fmt.Errorf("the agent: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
