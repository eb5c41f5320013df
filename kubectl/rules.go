// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
)

func (p *plugin) rules() *cobra.Command {
	out := output{tools: kernel.Tools()}
	var agents string
	command := &cobra.Command{
		Use:   "rules NODE [SERVICE[:PORT]]",
		Short: "Show what a node's kernel has of a Service, or of all.",
		Long: `Show what a node's kernel has of a Service, or of all Services: each address and port, what happens
to connections, their endpoints, and whether that is what the agent has programmed.

It runs a command in the Pod of the node's agent, which needs the right to exec there. The command
reads the kernel and changes nothing.

With -o nft, -o iptables or -o ipvsadm it prints the rules in the syntax of that program, which must be that of
the node's mode.`,
		Example: `  kubectl fairlead rules worker-1 -n shop web:http

  # As nft would add it, of all Services
  kubectl fairlead rules worker-1 -o nft`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) == 2 {
				return nil
			}
			return fmt.Errorf("%s needs NODE, and SERVICE[:PORT] or nothing; see %s --help", cmd.CommandPath(), cmd.CommandPath())
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			var filter inspection.Filter
			if len(args) == 2 {
				namespace, err := p.namespace()
				if err != nil {
					return err
				}
				name, port, _ := strings.Cut(strings.TrimPrefix(args[1], "service/"), ":")
				filter = inspection.Filter{Service: namespace + "/" + name, Port: port}
			}
			found, err := agentsOf(cmd.Context(), p, agents)
			if err != nil {
				return err
			}
			report, err := found.Inspect(cmd.Context(), args[0], filter)
			if err != nil {
				return fmt.Errorf("node %s: %w", args[0], err)
			}
			if slices.Contains(kernel.Tools(), out.format) {
				return kernel.PrintAs(cmd.OutOrStdout(), &report, out.format)
			}
			return out.print(cmd.OutOrStdout(), &report, func(w io.Writer) error { return kernel.PrintRules(w, &report, filter.Service) })
		},
	}
	out.add(command)
	addAgents(command, &agents)
	return command
}

// addAgents adds the flag for the agents' namespace to a command whose --namespace is a Service's.
func addAgents(command *cobra.Command, to *string) {
	command.Flags().StringVar(to, "agents-namespace", installed, "the namespace of the agents' Pods")
}

// agentsOf finds the agents' Pods.
func agentsOf(ctx context.Context, p *plugin, namespace string) (*kernel.Agents, error) {
	api, err := p.client()
	if err != nil {
		return nil, err
	}
	exec, err := execIn(p)
	if err != nil {
		return nil, err
	}
	return kernel.FindAgents(ctx, api, namespace, exec)
}

func (p *plugin) drift() *cobra.Command {
	out := output{}
	command := &cobra.Command{
		Use:   "drift [NODE...]",
		Short: "Show where kernels differ from what is desired.",
		Long: `Show where the kernels of nodes differ from what their agents have programmed: what other programs
have changed, and the agents have not repaired yet. By default of all nodes that a ProxyConfig selects.

It runs a command in the Pod of each node's agent, which needs the right to exec there. The command
reads the kernel and changes nothing. The agents are looked for in the namespace ` + installed + `
unless --namespace is set.

Exits with 0 if all kernels are as desired, with 1 if one differs, and with 2 after an error, also if
none differs and one could not be read.`,
		Example: `  kubectl fairlead drift
  kubectl fairlead drift worker-1 worker-2 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			agents, err := agentsOf(cmd.Context(), p, p.controllerNamespace())
			if err != nil {
				return err
			}
			report, err := kernel.FindDrift(cmd.Context(), api, agents, args)
			if err != nil {
				return err
			}
			if err := out.print(cmd.OutOrStdout(), &report, report.Print); err != nil {
				return err
			}
			switch {
			case report.Has(kernel.Differs):
				return ErrNo
			case report.Has(kernel.Unknown):
				return errors.New("a node could not be inspected")
			}
			return nil
		},
	}
	out.add(command)
	return command
}
