// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// autoModes are the modes that Auto tries, in order.
var autoModes = []v1alpha1.ProxyMode{v1alpha1.ModeNFTables, v1alpha1.ModeIPVS, v1alpha1.ModeIPTables}

// Dataplanes makes the dataplane of each mode that this build has.
type Dataplanes map[v1alpha1.ProxyMode]func() (dataplane.Dataplane, error)

// errUnsupported says that this node cannot run any of the modes asked for.
var errUnsupported = errors.New("this node can run none of the modes asked for")

// choose opens the first dataplane, in the policy's order, that this kernel can
// run. The error names what each of them lacks.
func (d Dataplanes) choose(ctx context.Context, spec v1alpha1.NodeRuleSetSpec) (dataplane.Dataplane, error) {
	modes := append([]v1alpha1.ProxyMode{spec.Mode}, spec.FallbackModes...)
	if spec.Mode == v1alpha1.ModeAuto || spec.Mode == "" {
		modes = autoModes
	}
	errs := []error{errUnsupported}
	for _, mode := range modes {
		dp, err := d.open(ctx, mode)
		if err == nil {
			return dp, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", mode, err))
	}
	return nil, errors.Join(errs...)
}

func (d Dataplanes) open(ctx context.Context, mode v1alpha1.ProxyMode) (dataplane.Dataplane, error) {
	open := d[mode]
	if open == nil {
		return nil, errors.New("not implemented in this version of the agent")
	}
	dp, err := open()
	if err != nil {
		return nil, err
	}
	if err := dp.Probe(ctx); err != nil {
		return nil, errors.Join(err, dp.Close())
	}
	return dp, nil
}
