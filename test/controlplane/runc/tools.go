// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package runc keeps runc's main in this module's graph, so that the lab can
// build it where no release can be downloaded.
package runc

import (
	_ "github.com/opencontainers/runc"
)
