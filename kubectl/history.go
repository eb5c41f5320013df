// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/rollout"
)

// installed is the namespace of the controller, which keeps its revisions there.
const installed = "fairlead-system"

func (p *plugin) history() *cobra.Command {
	out, revision := output{wide: true}, ""
	command := &cobra.Command{
		Use:   "history [CONFIG]",
		Short: "Show the policies that a ProxyConfig has had, and which nodes run them.",
		Long: `Show the policies that a ProxyConfig has had, the oldest first, and which nodes run them. Without
a name the history of all ProxyConfigs is shown.

Revisions are in the controller's namespace, ` + installed + ` unless --namespace is set.`,
		Example: `  kubectl fairlead rollout history default

  # All nodes of each revision
  kubectl fairlead rollout history default -o wide

  # The spec that undo would write
  kubectl fairlead rollout history default --revision 41c9a0b2c4d6e8f0`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if revision != "" && (len(args) == 0 || out.format != "") {
				return errors.New("--revision needs the name of a ProxyConfig, and no --output: it prints YAML")
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			configs, err := configsOf(cmd.Context(), api, args)
			if err != nil {
				return err
			}
			all := []rollout.History{}
			for i := range configs {
				history, err := p.historyOf(cmd.Context(), api, &configs[i])
				if err != nil {
					return err
				}
				all = append(all, history)
			}
			if revision != "" {
				return printPolicy(cmd.OutOrStdout(), &all[0], revision)
			}
			return out.print(cmd.OutOrStdout(), all, func(w io.Writer) error {
				return printAll(w, all, out.format == "wide")
			})
		},
	}
	out.add(command)
	command.Flags().StringVar(&revision, "revision", "", "print the spec of this revision, a name or a hash")
	return command
}

func (p *plugin) undo() *cobra.Command {
	to, dryRun := "", ""
	command := &cobra.Command{
		Use:   "undo CONFIG",
		Short: "Give a ProxyConfig the policy of an earlier revision.",
		Long: `Give a ProxyConfig the policy of an earlier revision: of the one before, or of --to-revision. Which
nodes it selects, its priority, the limits of its agents and how it is rolled out stay as they are. The
change reaches the nodes as any other one: by a rollout.

A revision whose content does not have its hash was altered, and is refused.`,
		Example: `  kubectl fairlead rollout undo default

  # What would be asked of the apiserver
  kubectl fairlead rollout undo default --to-revision 41c9a0b2c4d6e8f0 --dry-run=server`,
		Args: exactArgs(1, "the name of a ProxyConfig"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dryRun != "none" && dryRun != "client" && dryRun != "server" {
				return errors.New("--dry-run must be none, server or client")
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			return p.undoTo(cmd, api, args[0], to, dryRun)
		},
	}
	command.Flags().StringVar(&to, "to-revision", "", "the name or the hash of the revision; default: the one before")
	command.Flags().StringVar(&dryRun, "dry-run", "none", "none; client: only say what would be done; server: have the apiserver check it, and write nothing")
	return command
}

func (p *plugin) undoTo(cmd *cobra.Command, api client.Client, name, to, dryRun string) error {
	configs, err := configsOf(cmd.Context(), api, []string{name})
	if err != nil {
		return err
	}
	history, err := p.historyOf(cmd.Context(), api, &configs[0])
	if err != nil {
		return err
	}
	revision, err := history.Find(to)
	if err != nil {
		return err
	}
	note := ""
	switch dryRun {
	case "client":
		note, err = " (dry run)", revision.Usable()
	case "server":
		note, err = " (server dry run)", rollout.Undo(cmd.Context(), api, &configs[0], revision, client.DryRunAll)
	default:
		err = rollout.Undo(cmd.Context(), api, &configs[0], revision)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "proxyconfig.proxy.fairlead.dev/%s rolled back to %s%s\n", name, revision.Name, note)
	return err
}

// configsOf reads a ProxyConfig, or all if there is no name.
func configsOf(ctx context.Context, api client.Reader, names []string) ([]v1alpha1.ProxyConfig, error) {
	if len(names) == 0 {
		var list v1alpha1.ProxyConfigList
		if err := api.List(ctx, &list); err != nil {
			return nil, fmt.Errorf("list ProxyConfigs: %w", err)
		}
		return list.Items, nil
	}
	var config v1alpha1.ProxyConfig
	if err := api.Get(ctx, types.NamespacedName{Name: names[0]}, &config); err != nil {
		return nil, fmt.Errorf("read the ProxyConfig: %w", err)
	}
	return []v1alpha1.ProxyConfig{config}, nil
}

func (p *plugin) historyOf(ctx context.Context, api client.Reader, config *v1alpha1.ProxyConfig) (rollout.History, error) {
	in, err := rollout.Collect(ctx, api, config, p.controllerNamespace())
	if err != nil {
		return rollout.History{}, err
	}
	return rollout.HistoryOf(in), nil
}

// controllerNamespace is that of the flag: the current context's is the user's own.
func (p *plugin) controllerNamespace() string {
	return cmp.Or(*p.flags.Namespace, installed)
}

func printAll(to io.Writer, all []rollout.History, wide bool) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(to, "There is no ProxyConfig.")
		return err
	}
	for i := range all {
		if i > 0 {
			if _, err := fmt.Fprintln(to); err != nil {
				return err
			}
		}
		if err := all[i].Print(to, wide); err != nil {
			return err
		}
	}
	return nil
}

func printPolicy(to io.Writer, history *rollout.History, name string) error {
	revision, err := history.Find(name)
	if err != nil {
		return err
	}
	text, err := revision.Policy()
	if err != nil {
		return err
	}
	_, err = to.Write(text)
	return err
}
