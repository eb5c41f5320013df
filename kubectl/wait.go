// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/status"
	"github.com/fairlead-proxy/fairlead/kubectl/wait"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// lookInterval is how often wait looks whether nodes have the rules.
const lookInterval = time.Second

func (p *plugin) wait() *cobra.Command {
	var out output
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "wait SERVICE",
		Short: "Wait until every node has the newest rules of a Service.",
		Long: `Wait until the controller has compiled the Service and its EndpointSlices as they are now, and
every node reports that its kernel has these rules, or later ones.

A node reports changed rules at most once a minute, so this takes up to a minute longer than
the rules do. Nodes without a policy, and nodes that kube-proxy serves, do not count.

Exits with 0 if every node has them, with 1 if not all have them in time, naming those that
have not, and with 2 after an error.`,
		Example: `  # Before a test uses a new endpoint
  kubectl fairlead wait web

  kubectl fairlead wait -n shop cart --timeout 5m -o json`,
		Args: exactArgs(1, "SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if timeout < 0 {
				return errors.New("--timeout must not be negative")
			}
			namespace, err := p.namespace()
			if err != nil {
				return err
			}
			name := types.NamespacedName{Namespace: namespace, Name: strings.TrimPrefix(args[0], "service/")}
			report, err := p.waitFor(cmd.Context(), name, timeout)
			if err != nil {
				return err
			}
			return out.answer(cmd.OutOrStdout(), &report, report.Print, report.Done())
		},
	}
	command.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait; 0: look once")
	out.add(command)
	return command
}

// waitFor returns the report of a Service once every node has its rules, or after a time.
func (p *plugin) waitFor(ctx context.Context, service types.NamespacedName, timeout time.Duration) (wait.Report, error) {
	api, err := p.client()
	if err != nil {
		return wait.Report{}, err
	}
	if err := readable(ctx, api, service); err != nil {
		return wait.Report{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	follower := wait.NewFollower(service)
	objects, err := p.follow(ctx, follower)
	if err != nil {
		return wait.Report{}, err
	}
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for deadline := time.Now().Add(timeout); ; {
		report, err := look(ctx, api, objects, follower, service)
		if err != nil || report.Done() || !time.Now().Before(deadline) {
			return report, err
		}
		select {
		case <-ctx.Done():
			return report, nil
		case <-tick.C:
		}
	}
}

// readable returns the first error of what waitFor reads, since a watch tries again for ever.
func readable(ctx context.Context, api client.Reader, service types.NamespacedName) error {
	if _, err := wait.Wanted(ctx, api, service, nil); err != nil {
		return err
	}
	if _, err := status.Collect(ctx, api, time.Now()); err != nil {
		return err
	}
	if err := api.List(ctx, &v1alpha1.ServiceRuleSliceList{}, client.Limit(1)); err != nil {
		return fmt.Errorf("list ServiceRuleSlices: %w", err)
	}
	return nil
}

// follow starts the watches. The follower has all slices when it returns.
func (p *plugin) follow(ctx context.Context, follower *wait.Follower) (cache.Cache, error) {
	objects, err := p.watches(ctx, map[client.Object]cache.ByObject{&v1alpha1.ServiceRuleSlice{}: {Transform: withoutEndpoints}})
	if err != nil {
		return nil, err
	}
	slices, err := objects.GetInformer(ctx, &v1alpha1.ServiceRuleSlice{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch ServiceRuleSlices: %w", err)
	}
	set := func(object any) { follower.Set(object.(*v1alpha1.ServiceRuleSlice)) }
	handled, err := slices.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, object any) { set(object) },
		DeleteFunc: func(object any) {
			if key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				follower.Delete(key)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch ServiceRuleSlices: %w", err)
	}
	go func() { _ = objects.Start(ctx) }() // which returns no error but of ctx
	if !objects.WaitForCacheSync(ctx) || !toolscache.WaitForCacheSync(ctx.Done(), handled.HasSynced) {
		return nil, fmt.Errorf("read the rules: %w", context.Cause(ctx))
	}
	return objects, nil
}

// withoutEndpoints drops what a follower does not need: thousands of Services have many endpoints.
func withoutEndpoints(object any) (any, error) {
	if slice, ok := object.(*v1alpha1.ServiceRuleSlice); ok {
		model.DropManagedFields(slice)
		slice.Spec.Endpoints = nil
	}
	return object, nil
}

// look reads what nodes report now.
func look(ctx context.Context, api, objects client.Reader, follower *wait.Follower, service types.NamespacedName) (wait.Report, error) {
	if !follower.Reached() {
		wanted, err := wait.Wanted(ctx, api, service, follower.Parts())
		if err != nil {
			return wait.Report{}, err
		}
		follower.Want(wanted)
	}
	in, err := status.Collect(ctx, objects, time.Now())
	if err != nil {
		return wait.Report{}, err
	}
	return wait.Of(follower, status.Of(in).Nodes), nil
}
