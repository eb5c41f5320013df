// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package cni has the tests of Fairlead on nodes whose Pods a CNI plugin connects.
package cni

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// patience is how long nodes may take until they show a change.
const patience = 2 * time.Minute

var (
	config = lab.Default()
	api    client.Client
)

func TestMain(m *testing.M) {
	flag.Parse()
	labtest.Main("cni", func() (int, error) { return run(m) })
}

// run runs the tests on a lab that is running, or on one that it starts and stops.
func run(m *testing.M) (code int, err error) {
	if config.CNI == "" {
		return 0, errors.New("FAIRLEAD_LAB_CNI names no plugin: run `make test-cni`")
	}
	started, stop, err := labtest.Start(config)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	api = started
	if err := labtest.Install(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func eventually(ctx context.Context, ok func() error) error {
	return labtest.Eventually(ctx, patience, ok)
}
