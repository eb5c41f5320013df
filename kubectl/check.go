// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/kubectl/check"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/kubectl/migrate"
)

func (p *plugin) check() *cobra.Command {
	out, kernels, migration := output{tools: []string{proxyConfig}}, false, false
	command := &cobra.Command{
		Use:   "check",
		Short: "Find what keeps Fairlead from working as it should, and say how to mend it.",
		Long: `Check the API, the user's rights, controller, agents, nodes, policies and rollouts. Each check that fails
says what it has found, the fix, and where in the documentation more is said.

With --kernel, also whether kernels have what their agents have programmed, and whether connection
tracking has room. This executes a command in the agents' Pods, and forwards a port to them: see
"kubectl fairlead drift".

With --migrate, instead of these, what a take-over from kube-proxy would change: settings, addresses of node
ports, external IPs, Services and nodes, and who owns its DaemonSet. With -o proxyconfig it prints the
ProxyConfig that keeps what kube-proxy does today. Fairlead need not be installed for that.

Exits with 0 if all checks pass, with 1 if one does not, and with 2 after an error.
Controller and agents are looked for in the namespace ` + installed + ` unless --namespace is set.`,
		Example: `  kubectl fairlead check
  kubectl fairlead check --kernel

  # Before a take-over from kube-proxy
  kubectl fairlead check --migrate
  kubectl fairlead check --migrate -o proxyconfig > proxyconfig.yaml

  # The checks that fail
  kubectl fairlead check -o json | jq '.categories[].checks[] | select(.pass | not)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if out.format == proxyConfig && !migration {
				return errors.New("--output proxyconfig needs --migrate")
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			if migration {
				return checkMigration(cmd, api, &out)
			}
			report, err := checkReport(cmd.Context(), p, api, kernels)
			if err != nil {
				return err
			}
			return out.answer(cmd.OutOrStdout(), &report, report.Print, report.Pass())
		},
	}
	out.add(command)
	command.Flags().BoolVar(&kernels, "kernel", false, "also look into the nodes' kernels, through the agents' Pods")
	command.Flags().BoolVar(&migration, "migrate", false, "say what a take-over from kube-proxy would change")
	command.MarkFlagsMutuallyExclusive("migrate", "kernel")
	return command
}

// proxyConfig is the format of a ProxyConfig with kube-proxy's settings.
const proxyConfig = "proxyconfig"

func checkMigration(cmd *cobra.Command, api client.Client, out *output) error {
	facts, err := migrate.Collect(cmd.Context(), api)
	if err != nil {
		return err
	}
	if out.format == proxyConfig {
		return facts.PrintProxyConfig(cmd.OutOrStdout())
	}
	report := migrate.Of(facts)
	return out.answer(cmd.OutOrStdout(), &report, report.Print, report.Pass())
}

func checkReport(ctx context.Context, p *plugin, api client.Client, kernels bool) (check.Report, error) {
	served, err := p.flags.ToDiscoveryClient()
	if err != nil {
		return check.Report{}, fmt.Errorf("create the client for discovery: %w", err)
	}
	served.Invalidate() // it is kept on disk for hours
	facts, err := check.Collect(ctx, api, served, p.controllerNamespace(), time.Now())
	if err != nil {
		return check.Report{}, err
	}
	if kernels && facts.Read {
		if facts.Kernels, err = kernelsFacts(ctx, p, api, facts.Agents); err != nil {
			return check.Report{}, err
		}
	}
	return check.Of(facts), nil
}

// metricsAtOnce is how many agents are asked for their metrics at the same time.
const metricsAtOnce = 10

// kernels looks into the kernels of the nodes. What it cannot read is in the answer.
func kernelsFacts(ctx context.Context, p *plugin, api client.Client, pods []corev1.Pod) (*check.Kernels, error) {
	out := &check.Kernels{Conntrack: map[string]check.Conntrack{}}
	agents, err := agentsOf(ctx, p, p.controllerNamespace())
	if err != nil {
		return nil, err
	}
	if out.Drift, err = kernel.FindDrift(ctx, api, agents, nil); err != nil {
		return nil, err
	}
	config, clients, err := clientsOf(p)
	if err != nil {
		return nil, err
	}
	var group errgroup.Group
	group.SetLimit(metricsAtOnce)
	var lock sync.Mutex
	for i := range pods {
		pod := &pods[i]
		if pod.Status.Phase != corev1.PodRunning {
			continue
		}
		group.Go(func() error {
			var metrics bytes.Buffer
			found := check.Conntrack{}
			err := getFrom(ctx, config, clients, pod, agentMetricsPort, "/metrics", &metrics)
			if err == nil {
				found, err = check.ParseConntrack(&metrics)
			}
			found.Err = err
			lock.Lock()
			defer lock.Unlock()
			out.Conntrack[pod.Spec.NodeName] = found
			return nil
		})
	}
	return out, group.Wait()
}
