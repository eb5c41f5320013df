// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/kubectl/explain"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
)

func (p *plugin) explain() *cobra.Command {
	var from, agents string
	var read bool
	var out output
	command := &cobra.Command{
		Use:   "explain SERVICE[:PORT]",
		Short: "Which endpoints get connections to a Service, and why others do not.",
		Long: `Show for each address and port of a Service what nodes do with connections: which
endpoints get them, with their share, and why others get none.

Nodes that do the same are shown together. What the kernel of a node has is reported by its
agent: see "Problem".`,
		Example: `  # Connections of Pods, on all nodes
  kubectl fairlead explain web

  # Connections of a Pod to a port, which has a name or a number
  kubectl fairlead explain -n shop web:http --from pod/cart-7d4b9

  # ... and whether the kernels have it
  kubectl fairlead explain web --kernel

  # Connections of a process of a node, and from outside the cluster
  kubectl fairlead explain web --from node/worker-1
  kubectl fairlead explain web --from external/203.0.113.7 -o yaml`,
		Args: exactArgs(1, "SERVICE[:PORT]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			namespace, err := p.namespace()
			if err != nil {
				return err
			}
			client, err := explain.ParseClient(from, namespace)
			if err != nil {
				return err
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			name, port, _ := strings.Cut(strings.TrimPrefix(args[0], "service/"), ":")
			in, err := explain.Collect(cmd.Context(), api, types.NamespacedName{Namespace: namespace, Name: name}, port, client)
			if err != nil {
				return err
			}
			if read {
				in.Kernels = kernelsOf(cmd.Context(), p, &in, agents)
			}
			report, err := explain.Explain(in)
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), &report, report.Print)
		},
	}
	command.Flags().StringVar(&from, "from", "", "the client: pod/NAME, NAMESPACE/NAME of a Pod, node/NAME, or external[/ADDRESS]; default: any Pod")
	command.Flags().BoolVar(&read, "kernel", false, "also say whether the nodes' kernels have it: this executes a command in the agents' Pods, see `rules`")
	addAgents(command, &agents)
	out.add(command)
	return command
}

// kernelsOf reads the kernels of the nodes. Without the right to do so, that is the answer for each.
func kernelsOf(ctx context.Context, p *plugin, in *explain.Input, namespace string) map[string]kernel.Answer {
	var nodes []string
	for i := range in.Nodes {
		nodes = append(nodes, in.Nodes[i].Name)
	}
	agents, err := agentsOf(ctx, p, namespace)
	if err == nil {
		return agents.InspectAll(ctx, nodes, inspection.Filter{Service: in.Service.Namespace + "/" + in.Service.Name})
	}
	out := map[string]kernel.Answer{}
	for _, node := range nodes {
		out[node] = kernel.Answer{Err: err}
	}
	return out
}

// exactArgs has an error that says what is missing.
func exactArgs(n int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return fmt.Errorf("%s needs %s; see %s --help", cmd.CommandPath(), usage, cmd.CommandPath())
	}
}
