// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"encoding/gob"
	"io"
	"sync"
)

// Names that host and guest agree on.
const (
	controlPort = "fairlead.control" // the virtio serial port they talk over
	shareTag    = "fairlead.root"    // the host's root file system
)

// request is what the host asks the guest to run.
type request struct {
	Args, Env []string
	Dir       string
	// Modules is the folder of the kernel's modules, below the host's root.
	Modules string
	// Together is true if standard output and error go to one place on the host:
	// then they also share one pipe in the guest, and keep their order.
	Together bool
}

// event is a message from the guest to the host.
type event struct {
	Ready          bool // the guest is up, the command starts
	Stdout, Stderr []byte
	Exited         bool
	Status         int
}

// events writes events of several goroutines to one stream.
type events struct {
	mu      sync.Mutex
	encoder *gob.Encoder
}

func newEvents(w io.Writer) *events { return &events{encoder: gob.NewEncoder(w)} }

func (s *events) send(e event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.encoder.Encode(e)
}
