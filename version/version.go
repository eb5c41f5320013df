// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package version holds the version of this build.
package version

// Version is set by the linker (make build).
var Version = "v0.1.0-dev"
