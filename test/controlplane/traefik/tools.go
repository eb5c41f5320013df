// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package traefik pins Traefik. Its main needs modules of clouds that not every proxy has, and one that
// its archive has not: it is built in a copy of its module, with the versions of its own go.mod, see
// hack/controlplane.sh.
package traefik

import _ "github.com/traefik/traefik/v3/webui"
