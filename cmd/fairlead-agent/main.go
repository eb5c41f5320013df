// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command fairlead-agent programs a node's kernel with the rules of Services.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/fairlead-proxy/fairlead/agent"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/kubeclient"
	"github.com/fairlead-proxy/fairlead/version"
)

type options struct {
	kubeconfig string
	apiservers kubeclient.Addresses
	servers    string // a file with more of them
	cleanup    bool
	version    bool
	agent      agent.Options
	zap        zap.Options
}

func main() {
	// After the start the heap hardly changes: the default GC target would double
	// the memory for nothing.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(40)
	}
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) { // help is printed by then
		fmt.Fprintln(os.Stderr, "fairlead-agent:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("fairlead-agent", flag.ContinueOnError)
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; default: the Pod's service account")
	f.Var(&o.apiservers, "apiserver", "address of the apiserver, https://host:port; several addresses (repeated flag, or separated by commas) are tried in turn. It must not be a Service's address, which is unreachable before the agent has programmed it")
	f.StringVar(&o.servers, "apiserver-file", "", "file with more addresses of the apiserver, separated by commas; it is read at the start")
	f.StringVar(&o.agent.NodeName, "node-name", os.Getenv("NODE_NAME"), "name of this machine's Node (default $NODE_NAME)")
	f.StringVar(&o.agent.StateDir, "state-dir", "/var/lib/fairlead", "directory of the checkpoint, which is programmed at boot; not shared with other agents")
	f.StringVar(&o.agent.Addresses.Health, "healthz-bind-address", "0.0.0.0:10256", "address of /healthz and /livez, opened once it is free (kube-proxy has the same); empty: disabled")
	f.StringVar(&o.agent.Addresses.Metrics, "metrics-bind-address", "127.0.0.1:10249", "address of /metrics and /proxyMode, opened once it is free (kube-proxy has the same); empty: disabled")
	f.StringVar(&o.agent.Addresses.Probe, "probe-bind-address", "127.0.0.1:10272", "address of /livez and /readyz for the kubelet, which must be free; empty: disabled")
	f.StringVar(&o.agent.Sysctls.Root, "sysctl-root", sysctl.DefaultRoot, "directory of the kernel parameters; in a container, where /proc/sys is read-only, the mount point of the machine's directory")
	f.BoolVar(&o.cleanup, "cleanup", false, "remove everything that Fairlead has programmed on this machine and exit")
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	o.zap.BindFlags(f)
	return o, parseFlags(f, args)
}

// parseFlags parses flags, which no argument follows.
func parseFlags(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return nil
}

// addresses returns those of the flags and of the file.
func (o options) addresses() (kubeclient.Addresses, error) {
	all := slices.Clone(o.apiservers)
	if o.servers == "" {
		return all, nil
	}
	text, err := os.ReadFile(o.servers)
	if err != nil {
		return nil, fmt.Errorf("read the addresses of the apiserver: %w", err)
	}
	if err := all.Set(string(text)); err != nil {
		return nil, fmt.Errorf("%s: %w", o.servers, err)
	}
	return all, nil
}

func run(args []string) error {
	switch {
	case len(args) > 0 && args[0] == inspectCommand:
		return runInspect(args[1:], os.Stdout)
	case len(args) > 0 && args[0] == observeCommand:
		return runObserve(args[1:], os.Stdin, os.Stdout)
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.version {
		fmt.Println(version.Version)
		return nil
	}
	log := zap.New(zap.UseFlagOptions(&o.zap))
	klog.SetLogger(log)
	ctx, stop := signal.NotifyContext(logr.NewContext(context.Background(), log), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	o.agent.Modes, o.agent.Inspectable = modes.All(), true
	if o.cleanup {
		return cleanUp(ctx, o.agent, log)
	}
	if o.agent.Config, o.agent.Servers, err = restConfig(o); err != nil {
		return err
	}
	return agent.Run(ctx, o.agent)
}

// cleanUp removes as much as it can of what agents have programmed on this machine.
func cleanUp(ctx context.Context, o agent.Options, log logr.Logger) error {
	parameters, err := state.OpenParameters(o.StateDir, o.Sysctls)
	return errors.Join(err, modes.Cleanup(ctx, o.Modes, dataplane.Env{Log: log, Sysctls: o.Sysctls}), parameters.Restore())
}

func restConfig(o options) (*rest.Config, *kubeclient.Servers, error) {
	load := rest.InClusterConfig
	if o.kubeconfig != "" {
		load = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", o.kubeconfig) }
	}
	config, err := load()
	if err != nil {
		return nil, nil, fmt.Errorf("load the client configuration (outside a Pod, set --kubeconfig): %w", err)
	}
	config.QPS = -1 // no client-side limit: two watches and rare status writes
	config.UserAgent = "fairlead-agent/" + version.Version
	addresses, err := o.addresses()
	if err != nil {
		return nil, nil, err
	}
	return kubeclient.Config(config, addresses)
}
