// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/kubectl/status"
)

// redrawInterval is how often a status that is followed is drawn again.
const redrawInterval = time.Second

func (p *plugin) status() *cobra.Command {
	out, watch := output{wide: true}, false
	command := &cobra.Command{
		Use:   "status",
		Short: "Show policies, their rollouts, and what each node reports.",
		Long: `Show policies with their rollouts, nodes with what their agents report, and what nodes do
not support.

Exits with 0 if all is well, with 1 if a node or a rollout is not, and with 2 after an error.
A rollout that proceeds, or waits for a person, is well.`,
		Example: `  kubectl fairlead status

  # Follow it until Ctrl-C; with the revision and the digest of each node
  kubectl fairlead status -w -o wide

  # The nodes that are not well
  kubectl fairlead status -o json | jq -r '.nodes[] | select(.well | not) | .name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if watch {
				return p.followStatus(cmd.Context(), cmd.OutOrStdout(), &out)
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			report, text, err := readStatus(cmd.Context(), api, &out)
			if err != nil {
				return err
			}
			if _, err := cmd.OutOrStdout().Write(text); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if !report.Well() {
				return ErrNo
			}
			return nil
		},
	}
	out.add(command)
	command.Flags().BoolVarP(&watch, "watch", "w", false, "draw it again after each change, until Ctrl-C")
	return command
}

// readStatus returns the report, and its text in the format.
func readStatus(ctx context.Context, api client.Reader, out *output) (status.Report, []byte, error) {
	in, err := status.Collect(ctx, api, time.Now())
	if err != nil {
		return status.Report{}, nil, err
	}
	var text bytes.Buffer
	report := status.Of(in)
	err = out.print(&text, &report, func(w io.Writer) error { return report.Print(w, out.format == "wide") })
	return report, text.Bytes(), err
}

// followStatus draws the status until ctx ends. Informers keep the objects, so that it costs the
// apiserver no more than their changes.
func (p *plugin) followStatus(ctx context.Context, to io.Writer, out *output) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	objects, err := p.watches(ctx, nil)
	if err != nil {
		return err
	}
	go func() { _ = objects.Start(ctx) }() // which returns no error but of ctx
	if !objects.WaitForCacheSync(ctx) {
		return nil // Ctrl-C
	}
	return redraw(ctx, objects, to, isTerminal(to), out)
}

// watches returns informers, not started, of what a status is read from. options are those of some kinds.
func (p *plugin) watches(ctx context.Context, options map[client.Object]cache.ByObject) (cache.Cache, error) {
	config, scheme, err := p.config()
	if err != nil {
		return nil, err
	}
	objects, err := cache.New(config, cache.Options{Scheme: scheme, ByObject: options})
	if err != nil {
		return nil, fmt.Errorf("create the watches: %w", err)
	}
	for _, kind := range status.Kinds() {
		if _, err := objects.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return nil, fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	return objects, nil
}

// redraw writes the status in the place of the one before, on a terminal; elsewhere below it,
// if more than ages have changed.
func redraw(ctx context.Context, api client.Reader, to io.Writer, terminal bool, out *output) error {
	tick := time.NewTicker(redrawInterval)
	defer tick.Stop()
	for last := (*status.Report)(nil); ; {
		report, text, err := readStatus(ctx, api, out)
		if err != nil {
			return err
		}
		for i := range report.Nodes {
			report.Nodes[i].SeenSeconds = nil
		}
		if changed := !reflect.DeepEqual(&report, last); terminal || changed {
			before := ""
			switch {
			case terminal:
				before = "\033[H\033[2J"
			case last != nil && out.format != "json":
				before = "---\n"
			}
			if _, err := fmt.Fprintf(to, "%s%s", before, text); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			last = &report
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
