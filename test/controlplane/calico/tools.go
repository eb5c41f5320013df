// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package calico pins Calico. Its own go.mod replaces its API by a folder that the module has not: it is
// built in a copy of its module, with the API of this go.mod and else its own versions, see hack/controlplane.sh.
package calico

import (
	_ "github.com/projectcalico/api/pkg/lib/numorstring"
	_ "github.com/projectcalico/calico/node/buildinfo"
)
