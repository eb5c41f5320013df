// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/rollout"
)

func (p *plugin) rollout() *cobra.Command {
	command := &cobra.Command{
		Use:   "rollout",
		Short: "See and steer how a changed ProxyConfig reaches the nodes.",
		Example: `  kubectl fairlead rollout status default
  kubectl fairlead rollout approve default canary
  kubectl fairlead rollout abort default
  kubectl fairlead rollout undo default`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(
		p.onRollout("status CONFIG", "Show the rollout of a ProxyConfig.", nil),
		p.onRollout("pause CONFIG", "Give the changed policy to no more nodes.", rollout.Say(v1alpha1.StatePause)),
		p.onRollout("resume CONFIG", "Go on with a rollout that a person has paused.", rollout.Say(v1alpha1.StateRun)),
		p.onRollout("abort CONFIG", "Give all nodes the policy before.", rollout.Say(v1alpha1.StateAbort)),
		p.onRollout("retry CONFIG", "Try again a rollout that has failed or was aborted.", rollout.Say(v1alpha1.StateRetry)),
		p.onRollout("promote CONFIG", "Soak no longer, and wait for no approval.", rollout.Say(v1alpha1.StatePromote)),
		p.approve(), p.history(), p.undo(),
	)
	return command
}

// onRollout is a command that changes the rollout of a ProxyConfig, if change is set, and shows it.
func (p *plugin) onRollout(use, short string, change rollout.Change) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: exactArgs(1, "the name of a ProxyConfig"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.steer(cmd, args[0], change) },
	}
}

func (p *plugin) approve() *cobra.Command {
	return &cobra.Command{
		Use: "approve CONFIG STAGE", Short: "Approve a stage that waits for it.", Args: exactArgs(2, "the names of a ProxyConfig and of a stage"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.steer(cmd, args[0], rollout.Approve(args[1])) },
	}
}

func (p *plugin) steer(cmd *cobra.Command, config string, change rollout.Change) error {
	api, err := p.client()
	if err != nil {
		return err
	}
	found, err := rollout.Of(cmd.Context(), api, types.NamespacedName{Name: config})
	if err != nil {
		return err
	}
	if change == nil {
		return rollout.Print(cmd.OutOrStdout(), found)
	}
	if err := rollout.Apply(cmd.Context(), api, found, change); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "proxyrollout.proxy.fairlead.dev/%s patched\n", found.Name)
	return err
}
