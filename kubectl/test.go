// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-proxy/fairlead/kubectl/connect"
)

// agnhost is the image of Kubernetes' own tests.
const agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.53"

func testCommand(p *plugin) *cobra.Command {
	out, image, maxNodes, timeout := output{}, agnhost, 10, 3*time.Minute
	command := &cobra.Command{
		Use:   "test",
		Short: "Test whether Pods of all nodes reach Pods of all nodes by Services.",
		Long: `Test whether Pods of all nodes reach Pods of all nodes by the cluster IP and by the node port of a Service. In a
namespace of its own it makes a Pod on each node that is ready, and a Service for each Pod, and connects
from each Pod to each Service. At the end, also after Ctrl-C or a failure, the namespace is deleted.

The user needs to create namespaces, Pods, Services and pods/exec. The image needs agnhost, of Kubernetes' own
tests.

Exits with 0 if all connections came through, with 1 if one failed or a Pod did not start, and with 2
after an error.`,
		Example: `  kubectl fairlead test
  kubectl fairlead test --image registry.example/agnhost:2.53 --max-nodes 30`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if maxNodes < 1 || timeout <= 0 {
				return errors.New("--max-nodes must be at least 1, and --timeout positive")
			}
			api, err := p.client()
			if err != nil {
				return err
			}
			exec, err := execIn(p)
			if err != nil {
				return err
			}
			ctx, stop := context.WithTimeout(cmd.Context(), timeout)
			defer stop()
			report, err := connect.Run(ctx, connect.Options{API: api, Exec: exec, Image: image, MaxNodes: maxNodes, Started: func(namespace string) {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "testing in the namespace %s\n", namespace) // the report matters
			}})
			if err != nil {
				return err
			}
			return out.answer(cmd.OutOrStdout(), &report, report.Print, report.Pass())
		},
	}
	out.add(command)
	command.Flags().StringVar(&image, "image", image, "the image of the Pods, with agnhost")
	command.Flags().IntVar(&maxNodes, "max-nodes", maxNodes, "how many nodes take part, by name; there are twice as many connections as its square")
	command.Flags().DurationVar(&timeout, "timeout", timeout, "how long it may take; half of it is for the start of Pods")
	return command
}
