// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/fairlead-proxy/fairlead/agent/inspect"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/agent/modes"
)

const observeCommand = "observe"

// runObserve prints new connections until its standard input ends: a process in a container learns
// in no other way that its user is gone. Like runInspect it is for `kubectl fairlead`, and changes nothing.
func runObserve(args []string, in io.Reader, out io.Writer) error {
	o := inspect.ObserveOptions{Modes: modes.All(), Sysctls: sysctl.Tree{},
		Addresses: func() ([]netip.Addr, error) { return netdev.AddressesOf(netdev.Namespace(0)) }}
	f := flag.NewFlagSet("fairlead-agent "+observeCommand, flag.ContinueOnError)
	f.StringVar(&o.Node, "node-name", os.Getenv("NODE_NAME"), "name of this machine's Node (default $NODE_NAME)")
	f.StringVar(&o.StateDir, "state-dir", "/var/lib/fairlead", "directory of the running agent's checkpoint")
	f.StringVar(&o.Filter.Service, "service", "", "namespace/name of the Service whose connections to print; empty: of all")
	f.StringVar(&o.Filter.Port, "port", "", "name or number of a port of the Service; empty: all")
	f.Func("clients", "addresses whose connections to print, separated by commas (default: all)", func(text string) error {
		for one := range strings.SplitSeq(text, ",") {
			a, err := netip.ParseAddr(one)
			if err != nil {
				return err
			}
			o.Clients = append(o.Clients, a)
		}
		return nil
	})
	f.BoolVar(&o.OwnClients, "own-clients", false, "print the connections of processes of this machine")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in) // an error is an end, too
		stop()
	}()
	return inspect.Observe(ctx, o, out)
}
