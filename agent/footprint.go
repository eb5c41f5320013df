// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// footprintFile is in the folder of the checkpoint.
const footprintFile = "modes.json"

// footprint is in which modes this node was programmed and not cleaned up since.
// It outlives the agent: what another agent has begun to leave, this one removes,
// and nobody removes what was never ours, such as the rules of a kube-proxy that
// still runs.
type footprint struct {
	path  string // empty: it does not outlive the agent
	modes []v1alpha1.ProxyMode
}

func openFootprint(dir string) (*footprint, error) {
	f := &footprint{path: filepath.Join(dir, footprintFile)}
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &f.modes)
	}
	if err != nil {
		return f, fmt.Errorf("read which modes have left traces: %w", err)
	}
	return f, nil
}

// add notes a mode, before the first trace of it.
func (f *footprint) add(mode v1alpha1.ProxyMode) error {
	if slices.Contains(f.modes, mode) {
		return nil
	}
	return f.write(append(slices.Clone(f.modes), mode))
}

// remove forgets a mode, after its last trace is gone.
func (f *footprint) remove(mode v1alpha1.ProxyMode) error {
	return f.write(slices.DeleteFunc(slices.Clone(f.modes), func(m v1alpha1.ProxyMode) bool { return m == mode }))
}

// others are the modes that have left traces, but for one.
func (f *footprint) others(mode v1alpha1.ProxyMode) []v1alpha1.ProxyMode {
	return slices.DeleteFunc(slices.Clone(f.modes), func(m v1alpha1.ProxyMode) bool { return m == mode })
}

// write notes the modes, in memory even if the file cannot be written.
func (f *footprint) write(modes []v1alpha1.ProxyMode) error {
	f.modes = modes
	if f.path == "" {
		return nil
	}
	text, err := json.Marshal(modes)
	if err != nil {
		return err
	}
	temporary := f.path + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return fmt.Errorf("note which modes have left traces: %w", err)
	}
	if err := os.Rename(temporary, f.path); err != nil {
		return fmt.Errorf("note which modes have left traces: %w", err)
	}
	return nil
}
