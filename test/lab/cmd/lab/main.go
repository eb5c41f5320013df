// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command lab runs a Kubernetes cluster on this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/node"
)

const usage = `usage: lab COMMAND

  up [--bin DIR] [--nodes N] [--vm]
                           start the lab and return once its nodes are ready
  run [--bin DIR] [--nodes N] [--vm]
                           the same in the foreground, until Ctrl-C
  down [--keep-logs DIR]   stop the lab and remove everything of it
  status                   what runs
  kubeconfig [--inside]    print the path of the administrator's kubeconfig,
                           for the host or for programs in the lab's namespaces
  exec NAME -- COMMAND     run a command in the network namespace of node-1 ...,
                           control, client, or a Pod (NAMESPACE/NAME)

--bin is the directory of lab-images and the project's programs (default: bin
of this repository), --nodes the number of nodes (default: 3). With --vm, node-1
runs in a virtual machine whose kernel has ip_vs.
FAIRLEAD_LAB_DIR is the state directory (default:
/var/lib/fairlead-lab).
`

// maxNodes is how many nodes the lab's plan of addresses names: the next one would have the address .20.
const maxNodes = 9

func main() {
	node.MaybeRunInit()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return flag.ErrHelp
	}
	command, args := args[0], args[1:]
	config := lab.Default()
	flags := flag.NewFlagSet("lab "+command, flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	switch command {
	case "up", "run":
		flags.StringVar(&config.BinDir, "bin", "", "directory of the project's programs")
		flags.IntVar(&config.Nodes, "nodes", config.Nodes, "number of nodes")
		inVM := flags.Bool("vm", false, "run the first node in a virtual machine")
		if err := parse(flags, args); err != nil {
			return err
		}
		if config.Nodes < 1 || config.Nodes > maxNodes {
			return fmt.Errorf("--nodes %d: the lab has 1 to %d nodes", config.Nodes, maxNodes)
		}
		if *inVM {
			config.VM = vmProgram
		}
		if command == "up" {
			return up(ctx, config)
		}
		return foreground(ctx, config)
	case lab.MachineCommand:
		return lab.RunMachine()
	case superviseCommand:
		return supervise(ctx, args)
	case "down":
		keep := flags.String("keep-logs", "", "directory to copy the logs to")
		if err := parse(flags, args); err != nil {
			return err
		}
		return down(config, *keep)
	case "status":
		return status(ctx, config)
	case "kubeconfig":
		inside := flags.Bool("inside", false, "for programs in the lab's namespaces")
		if err := parse(flags, args); err != nil {
			return err
		}
		return printKubeconfig(config, *inside)
	case "exec":
		return execInside(ctx, config, args)
	default:
		fmt.Fprint(os.Stderr, usage)
		return flag.ErrHelp
	}
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return flag.ErrHelp // the flag package has said why
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}

func printKubeconfig(config lab.Config, inside bool) error {
	path := config.Kubeconfig()
	if inside {
		path = config.InsideKubeconfig()
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("no lab is running: %w", err)
	}
	fmt.Println(path)
	return nil
}
