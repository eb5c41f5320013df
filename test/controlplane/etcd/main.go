// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command etcd is the etcd server, built from its Go module for machines where
// no release can be downloaded.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
