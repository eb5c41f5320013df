// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/kubectl/check"
)

func (p *plugin) check() *cobra.Command {
	out := output{}
	command := &cobra.Command{
		Use:   "check",
		Short: "Find what keeps Fairlead from working as it should, and say how to mend it.",
		Long: `Check the API, the user's rights, controller, agents, nodes, policies and rollouts. Each check that fails
says what it has found, the fix, and where in the documentation more is said.

Exits with 0 if all checks pass, with 1 if one does not, and with 2 after an error.
Controller and agents are looked for in the namespace ` + installed + ` unless --namespace is set.`,
		Example: `  kubectl fairlead check

  # The checks that fail
  kubectl fairlead check -o json | jq '.categories[].checks[] | select(.pass | not)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			report, err := checkReport(cmd.Context(), p, api)
			if err != nil {
				return err
			}
			if err := out.print(cmd.OutOrStdout(), &report, report.Print); err != nil {
				return err
			}
			if !report.Pass() {
				return ErrNo
			}
			return nil
		},
	}
	out.add(command)
	return command
}

func checkReport(ctx context.Context, p *plugin, api client.Client) (check.Report, error) {
	served, err := p.flags.ToDiscoveryClient()
	if err != nil {
		return check.Report{}, fmt.Errorf("create the client for discovery: %w", err)
	}
	served.Invalidate() // it is kept on disk for hours
	facts, err := check.Collect(ctx, api, served, p.controllerNamespace(), time.Now())
	if err != nil {
		return check.Report{}, err
	}
	return check.Of(facts), nil
}
