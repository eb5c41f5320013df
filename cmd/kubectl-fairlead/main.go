// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-fairlead is a plugin of kubectl: with it in the PATH, `kubectl fairlead` runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/fairlead-proxy/fairlead/kubectl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	switch err := kubectl.NewCommand(streams).ExecuteContext(ctx); {
	case errors.Is(err, kubectl.ErrNo):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}
