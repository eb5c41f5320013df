// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"strings"
	"sync"
)

const (
	tailLines = 50
	tailBytes = 64 << 10
)

// tail keeps the last lines of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if len(t.text) > 2*tailBytes {
		t.text = bytes.Clone(t.text[len(t.text)-tailBytes:])
	}
	return len(b), nil
}

// String returns the lines without the carriage returns of a serial console.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(t.text), "\r", "")), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
