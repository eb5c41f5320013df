// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// The names of the contenders.
const (
	agentName     = "fairlead-agent"
	kubeProxyName = "kube-proxy"
)

// contender is a service proxy that is measured.
type contender interface {
	start(ctx context.Context) (*process, error)
	// started waits until the proxy reports that everything is programmed.
	started(ctx context.Context) (agentStart, error)
	// change gives a Service other endpoints.
	change(ctx context.Context, service, version int) error
	// rest waits until the proxy has processed a change that was made at a time.
	rest(ctx context.Context, since time.Time) error
	close() error
}

func (o options) contenders() []string {
	if o.kubeProxy == "" {
		return []string{agentName}
	}
	return []string{agentName, kubeProxyName}
}

// compete measures a contender with a number of Services and prints the result as
// JSON. This process has a network namespace of its own.
func (o options) compete(ctx context.Context, mode v1alpha1.ProxyMode, number, name string, measure func(context.Context, cluster, contender) (any, error)) error {
	services, err := strconv.Atoi(number)
	if err != nil || services < 1 || services > maxServices {
		return fmt.Errorf("-services: %q is not a number from 1 to %d", number, maxServices)
	}
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the result is valid anyway
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := cluster{services: services, mode: mode}
	var p contender
	if name == kubeProxyName {
		p, err = newKubeProxy(ctx, c, o.kubeProxy, dir)
	} else {
		p, err = newAgent(ctx, c, o.agent, dir)
	}
	if err != nil {
		return err
	}
	result, err := measure(ctx, c, p)
	if err := errors.Join(err, p.close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// startedWithin waits for a contender; unfinished means that it timed out.
func startedWithin(ctx context.Context, p contender, patience time.Duration) (s agentStart, unfinished bool, err error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err = p.started(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return s, true, nil
	}
	return s, false, err
}

// followAll changes one endpoint after the other, each when the contender is idle, and
// returns how long it took until arrived returned.
func followAll(ctx context.Context, c cluster, p contender, changes int, arrived func(service, version int) error) ([]time.Duration, error) {
	var all []time.Duration
	for version := 1; version <= changes; version++ {
		service := version * 7919 % c.services
		begun := time.Now()
		if err := p.change(ctx, service, version); err != nil {
			return nil, err
		}
		if err := arrived(service, version); err != nil {
			return nil, err
		}
		all = append(all, time.Since(begun))
		if err := p.rest(ctx, begun); err != nil {
			return nil, err
		}
	}
	return all, nil
}
