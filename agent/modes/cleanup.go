// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package modes

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// Cleanup removes everything that some modes have ever made in a kernel. What a mode
// needs and the kernel does not have has nothing in it.
func Cleanup(ctx context.Context, all []dataplane.Mode, env dataplane.Env) error {
	var errs []error
	for _, mode := range all {
		d, err := mode.Open(env)
		if errors.Is(err, dataplane.ErrUnsupported) {
			continue
		}
		if err == nil {
			err = errors.Join(d.Cleanup(ctx), d.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("clean up %s: %w", mode.Name, err))
		}
	}
	return errors.Join(errs...)
}
