// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agentmanifest holds the manifest of the agent, so that it is the same
// in the controller and in the repository.
package agentmanifest

import _ "embed" // for the manifest

// DaemonSet is the manifest of the agent's DaemonSet.
//
//go:embed daemonset.yaml
var DaemonSet []byte
