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

	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

// parametersFile is in the folder of the checkpoint.
const parametersFile = "parameters.json"

// Parameters sets kernel parameters and notes what they were before, so that a clean-up can
// set them back. It outlives the agent.
type Parameters struct {
	path  string
	tree  sysctl.Tree
	noted map[string]parameter // by name
}

// parameter is the value that a kernel parameter had, and the one that it was given.
type parameter struct {
	Before string `json:"before"`
	Set    string `json:"set"`
}

// OpenParameters reads the file in dir. With an error nothing is noted yet, and the
// Parameters are usable.
func OpenParameters(dir string, tree sysctl.Tree) (*Parameters, error) {
	p := &Parameters{path: filepath.Join(dir, parametersFile), tree: tree, noted: map[string]parameter{}}
	text, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &p.noted)
	}
	if err != nil {
		p.noted = map[string]parameter{}
		return p, fmt.Errorf("read what kernel parameters were: %w", err)
	}
	return p, nil
}

// Get returns the value of a parameter.
func (p *Parameters) Get(name string) (string, error) { return p.tree.Get(name) }

// Set sets a parameter, also if its old value cannot be noted; then it returns an error. A
// value that is not the one set last is another program's, or the kernel's after a boot.
func (p *Parameters) Set(name, value string) error {
	now, err := p.tree.Get(name)
	if err != nil {
		return err
	}
	note, known := p.noted[name]
	if !known || note.Set != now {
		note.Before = now
	}
	note.Set = value
	p.noted[name] = note
	return errors.Join(p.write(), p.tree.Set(name, value))
}

// Restore sets the parameters back that have the value that Set gave them, and forgets them
// all. What fails is noted for the next try.
func (p *Parameters) Restore() error {
	if len(p.noted) == 0 {
		return nil
	}
	var errs []error
	for name, note := range p.noted {
		now, err := p.tree.Get(name)
		if err == nil && now == note.Set {
			err = p.tree.Set(name, note.Before)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		delete(p.noted, name)
	}
	return errors.Join(append(errs, p.write())...)
}

func (p *Parameters) write() error {
	text, err := json.Marshal(p.noted)
	if err != nil {
		return err
	}
	if err := replaceFile(p.path, text); err != nil {
		return fmt.Errorf("note what kernel parameters were: %w", err)
	}
	return nil
}
