// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/kubectl/bundle"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/version"
)

func bundleCommand(p *plugin) *cobra.Command {
	file := ""
	command := &cobra.Command{
		Use:   "bundle",
		Short: "Write a support archive, without Secrets.",
		Long: `Write a compressed tar with what helps to find a fault: Fairlead's objects, the Services,
EndpointSlices and Nodes that they follow from, events, logs and metrics of controller and agents, and the
output of check, status and drift.

It has no Secrets, no values of environment variables, and no annotations but Fairlead's; what looks like a
token or a password in a log is left out. It has names and addresses of Services, Pods and Nodes: look
into it before you publish it.

What you may not read, or what does not answer, is left out and is a line of errors.txt in it; index.txt
says what each file is. Controller and agents are looked for in the namespace ` + installed + ` unless
--namespace is set.`,
		Example: `  kubectl fairlead bundle
  kubectl fairlead bundle -o /tmp/fairlead.tar.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				file = "fairlead-bundle-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
			}
			sources, err := bundleSources(p)
			if err != nil {
				return err
			}
			summary, err := writeBundle(cmd.Context(), sources, file)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "wrote %s: %d files\n", file, summary.Files); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if n := len(summary.Faults); n > 0 {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d parts could not be read, see errors.txt in it\n", n)
			}
			return err
		},
	}
	command.Flags().StringVarP(&file, "output", "o", "", "the file to write; default: fairlead-bundle-TIME.tar.gz")
	return command
}

// writeBundle leaves no file behind if it fails.
func writeBundle(ctx context.Context, sources bundle.Sources, name string) (bundle.Summary, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return bundle.Summary{}, fmt.Errorf("create the file: %w", err)
	}
	summary, err := bundle.Write(ctx, sources, file)
	if err = errors.Join(err, file.Close()); err != nil {
		return summary, errors.Join(err, os.Remove(name))
	}
	return summary, nil
}

func bundleSources(p *plugin) (bundle.Sources, error) {
	api, err := p.client()
	if err != nil {
		return bundle.Sources{}, err
	}
	config, clients, err := clientsOf(p)
	if err != nil {
		return bundle.Sources{}, err
	}
	return bundle.Sources{
		API: api, Scheme: api.Scheme(), Namespace: p.controllerNamespace(), Texts: texts(p, api, clients),
		Logs: func(ctx context.Context, pod *corev1.Pod, options *corev1.PodLogOptions, to io.Writer) error {
			log, err := clients.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).Stream(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = log.Close() }() // only read from
			_, err = io.Copy(to, log)
			return err
		},
		Metrics: func(ctx context.Context, pod *corev1.Pod, to io.Writer) error {
			return getFrom(ctx, config, clients, pod, agentMetricsPort, "/metrics", to)
		},
	}, nil
}

// agentMetricsPort is where agents serve metrics, on localhost.
const agentMetricsPort = 10249

// texts are the reports that the plugin makes itself.
func texts(p *plugin, api client.WithWatch, clients kubernetes.Interface) []bundle.Text {
	return []bundle.Text{
		{Name: "version.txt", About: "versions of the plugin and of the apiserver", Write: func(_ context.Context, w io.Writer) error {
			if _, err := fmt.Fprintln(w, "kubectl fairlead", version.Version); err != nil {
				return err
			}
			server, err := clients.Discovery().ServerVersion()
			if err == nil {
				_, err = fmt.Fprintln(w, "apiserver", server.GitVersion)
			}
			return err
		}},
		{Name: "check.txt", About: "the output of kubectl fairlead check", Write: func(ctx context.Context, w io.Writer) error {
			report, err := checkReport(ctx, p, api, false)
			if err == nil {
				err = report.Print(w)
			}
			return err
		}},
		{Name: "status.txt", About: "the output of kubectl fairlead status -o wide", Write: func(ctx context.Context, w io.Writer) error {
			_, text, err := readStatus(ctx, api, &output{format: "wide"})
			if err == nil {
				_, err = w.Write(text)
			}
			return err
		}},
		{Name: "drift.txt", About: "the output of kubectl fairlead drift", Write: func(ctx context.Context, w io.Writer) error {
			agents, err := agentsOf(ctx, p, p.controllerNamespace())
			if err != nil {
				return err
			}
			report, err := kernel.FindDrift(ctx, api, agents, nil)
			if err == nil {
				err = report.Print(w)
			}
			return err
		}},
	}
}
