// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

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

// installedModesFile is in the folder of the checkpoint.
const installedModesFile = "modes.json"

// InstalledModes is in which modes this node was programmed and not cleaned up since.
// It outlives the agent: what another agent has begun to leave, this one removes,
// and it never removes what it has not made, such as the rules of a kube-proxy that
// still runs.
type InstalledModes struct {
	path   string               // empty: it does not outlive the agent
	modes  []v1alpha1.ProxyMode // the active one first
	behind bool                 // the file does not have these
}

// OpenInstalledModes reads the file in dir. With an error it is empty and usable.
func OpenInstalledModes(dir string) (*InstalledModes, error) {
	f := &InstalledModes{path: filepath.Join(dir, installedModesFile)}
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

// Add notes a mode, before the first trace of it.
func (f *InstalledModes) Add(mode v1alpha1.ProxyMode) error {
	if slices.Contains(f.modes, mode) {
		return f.Retry()
	}
	return f.write(append(slices.Clone(f.modes), mode))
}

// Activate notes that a mode is programmed now and that the node forwards by it.
func (f *InstalledModes) Activate(mode v1alpha1.ProxyMode) error {
	if f.Active() == mode {
		return f.Retry()
	}
	return f.write(append([]v1alpha1.ProxyMode{mode}, f.Others(mode)...))
}

// Active is the mode that was active last; if none ever was, the first that was begun;
// empty: there is none.
func (f *InstalledModes) Active() v1alpha1.ProxyMode {
	if len(f.modes) == 0 {
		return ""
	}
	return f.modes[0]
}

// Remove forgets a mode, after its last trace is gone.
func (f *InstalledModes) Remove(mode v1alpha1.ProxyMode) error {
	return f.write(slices.DeleteFunc(slices.Clone(f.modes), func(m v1alpha1.ProxyMode) bool { return m == mode }))
}

// Others are the modes that have left traces, but for one.
func (f *InstalledModes) Others(mode v1alpha1.ProxyMode) []v1alpha1.ProxyMode {
	return slices.DeleteFunc(slices.Clone(f.modes), func(m v1alpha1.ProxyMode) bool { return m == mode })
}

// Retry writes what could not be written before; nil: the file has all.
func (f *InstalledModes) Retry() error {
	if !f.behind {
		return nil
	}
	return f.write(f.modes)
}

// write notes the modes, in memory even if the file cannot be written.
func (f *InstalledModes) write(modes []v1alpha1.ProxyMode) error {
	f.modes = modes
	if f.path == "" {
		return nil
	}
	f.behind = true
	text, err := json.Marshal(modes)
	if err != nil {
		return err
	}
	if err := replaceFile(f.path, text); err != nil {
		return fmt.Errorf("note which modes have left traces: %w", err)
	}
	f.behind = false
	return nil
}

// replaceFile writes a small file beside the old one, which it then replaces.
func replaceFile(path string, text []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
