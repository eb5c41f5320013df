// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serve answers load balancers, the kubelet and Prometheus.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Start serves health and metrics; a server that ends by itself reports
// why in failed.
func Start(ctx context.Context, healthAddress, metricsAddress string, h *Health, group *sync.WaitGroup, failed chan<- error) error {
	for address, handler := range map[string]http.Handler{healthAddress: h.healthMux(), metricsAddress: h.metricsMux()} {
		if address == "" {
			continue
		}
		wait, err := serve(ctx, address, handler)
		if err != nil {
			return err
		}
		group.Go(func() {
			if err := wait(); err != nil {
				failed <- err
			}
		})
	}
	return nil
}

// serve answers on address until ctx ends. An address in use is an error at
// once: two agents on one node would hide from each other.
func serve(ctx context.Context, address string, handler http.Handler) (wait func() error, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			done <- fmt.Errorf("serve on %s: %w", address, err)
			return
		}
		done <- nil
	}()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	return func() error { defer stop(); return <-done }, nil
}
