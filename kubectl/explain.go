// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/kubectl/explain"
)

func (p *plugin) explain() *cobra.Command {
	var from, output string
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

  # Connections of a process of a node, and from outside the cluster
  kubectl fairlead explain web --from node/worker-1
  kubectl fairlead explain web --from external/203.0.113.7 -o yaml`,
		Args: exactArgs(1, "SERVICE[:PORT]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			print, err := printer(output)
			if err != nil {
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
			report, err := explain.Explain(in)
			if err != nil {
				return err
			}
			return print(cmd, &report)
		},
	}
	command.Flags().StringVar(&from, "from", "", "the client: pod/NAME, NAMESPACE/NAME of a Pod, node/NAME, or external[/ADDRESS]; default: any Pod")
	command.Flags().StringVarP(&output, "output", "o", "", "json or yaml; default: text")
	return command
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

// printer returns what writes a report in a format.
func printer(output string) (func(*cobra.Command, *explain.Report) error, error) {
	var marshal func(any) ([]byte, error)
	switch output {
	case "":
		return func(cmd *cobra.Command, r *explain.Report) error { return r.Print(cmd.OutOrStdout()) }, nil
	case "json":
		marshal = func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
	case "yaml":
		marshal = yaml.Marshal
	default:
		return nil, errors.New("--output must be json or yaml")
	}
	return func(cmd *cobra.Command, r *explain.Report) error {
		text, err := marshal(r)
		if err == nil {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.TrimRight(string(text), "\n"))
		}
		return err
	}, nil
}
