// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package flannel pins Flannel. Its main needs modules of clouds that not every proxy has: it is
// built in a copy of its module, with the versions of its own go.mod, see hack/controlplane.sh.
package flannel

import _ "github.com/flannel-io/flannel/pkg/version"
