// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/inspect"
	"github.com/fairlead-proxy/fairlead/agent/modes"
)

const inspectCommand = "inspect"

// runInspect prints what the node's kernel has of Services, and changes nothing: it is what
// `kubectl fairlead` runs in the agent's Pod. Its flags are those that old and new releases have.
func runInspect(args []string, out io.Writer) error {
	o := inspect.Options{Modes: modes.All(), Env: dataplane.Env{Log: logr.Discard()}}
	f := flag.NewFlagSet("fairlead-agent "+inspectCommand, flag.ContinueOnError)
	f.StringVar(&o.Node, "node-name", os.Getenv("NODE_NAME"), "name of this machine's Node (default $NODE_NAME)")
	f.StringVar(&o.StateDir, "state-dir", "/var/lib/fairlead", "directory of the running agent's checkpoint")
	f.StringVar(&o.Filter.Service, "service", "", "namespace/name of the Service to print; empty: all")
	f.StringVar(&o.Filter.Port, "port", "", "name or number of a port of the Service; empty: all")
	f.BoolVar(&o.Filter.OnlyDifferences, "only-differences", false, "print no frontends")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	report, err := inspect.Inspect(ctx, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(report)
}
