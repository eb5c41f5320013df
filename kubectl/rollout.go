// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"errors"
	"fmt"
	"time"

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
		p.rolloutStatus(),
		p.onRollout("pause CONFIG", "Give the changed policy to no more nodes.", rollout.Say(v1alpha1.StatePause)),
		p.onRollout("resume CONFIG", "Go on with a rollout that a person has paused.", rollout.Say(v1alpha1.StateRun)),
		p.onRollout("abort CONFIG", "Give all nodes the policy before.", rollout.Say(v1alpha1.StateAbort)),
		p.onRollout("retry CONFIG", "Try again a rollout that has failed or was aborted.", rollout.Say(v1alpha1.StateRetry)),
		p.onRollout("promote CONFIG", "Soak no longer, and wait for no approval.", rollout.Say(v1alpha1.StatePromote)),
		p.approve(), p.history(), p.undo(),
	)
	return command
}

func (p *plugin) rolloutStatus() *cobra.Command {
	watch, timeout := false, time.Duration(0)
	command := &cobra.Command{
		Use:   "status CONFIG",
		Short: "Show the rollout of a ProxyConfig, or wait until it has ended.",
		Long: `Show the rollout of a ProxyConfig.

With --watch, follow how the nodes get its current policy, until all that are ready run it, or the
rollout has failed. Exits with 0 in the first case, with 1 in the second one or when --timeout is over,
and with 2 after an error.`,
		Example: `  kubectl fairlead rollout status default

  # In a pipeline, after a change of the policy
  kubectl fairlead rollout status default --watch --timeout 30m`,
		Args: exactArgs(1, "the name of a ProxyConfig"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case timeout < 0:
				return errors.New("--timeout must not be negative")
			case watch:
				return p.followRollout(cmd, args[0], timeout)
			}
			return p.steer(cmd, args[0], nil)
		},
	}
	command.Flags().BoolVarP(&watch, "watch", "w", false, "wait until the rollout has ended")
	command.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; 0: without an end")
	return command
}

// followRollout prints each change of the progress until it has ended.
func (p *plugin) followRollout(cmd *cobra.Command, config string, timeout time.Duration) error {
	api, err := p.client()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for last := ""; ; {
		progress, err := rollout.ProgressOf(cmd.Context(), api, types.NamespacedName{Name: config})
		if err != nil {
			return err
		}
		if progress.Message != last {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), progress.Message); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			last = progress.Message
		}
		switch {
		case progress.Succeeded:
			return nil
		case progress.Ended, timeout > 0 && !time.Now().Before(deadline):
			return ErrNo
		}
		select {
		case <-cmd.Context().Done():
			return ErrNo
		case <-tick.C:
		}
	}
}

// onRollout is a command that changes the rollout of a ProxyConfig.
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
