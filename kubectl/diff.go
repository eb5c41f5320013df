// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead-proxy/fairlead/kubectl/diff"
)

func (p *plugin) diff() *cobra.Command {
	out, file := output{}, ""
	command := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Show what a ProxyConfig would change on the nodes, before it is applied.",
		Long: `Show for each group of nodes with the same changes what the ProxyConfigs of a file would change: which
ProxyConfig has the nodes, the mode that they would run, what they do not support, and each field.

The apiserver checks the ProxyConfigs and writes nothing. It needs the right to patch them.

Exits with 0 if nothing would change, with 1 if something would, and with 2 after an error.`,
		Example: `  kubectl fairlead diff -f proxyconfig.yaml
  kustomize build . | kubectl fairlead diff -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if file == "" {
				return errors.New("kubectl fairlead diff needs -f FILE")
			}
			from := cmd.InOrStdin()
			if file != "-" {
				opened, err := os.Open(file)
				if err != nil {
					return fmt.Errorf("open the file: %w", err)
				}
				defer func() { _ = opened.Close() }() // only read from
				from = opened
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			in, err := diff.Collect(cmd.Context(), api, from)
			if err != nil {
				return err
			}
			report, err := diff.Of(in)
			if err != nil {
				return err
			}
			return out.answer(cmd.OutOrStdout(), &report, report.Print, len(report.Groups) == 0)
		},
	}
	command.Flags().StringVarP(&file, "filename", "f", "", "a file with ProxyConfigs, or - for the standard input")
	out.add(command)
	return command
}
