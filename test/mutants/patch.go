// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// FileDiff are the changes of one file.
type FileDiff struct {
	Path  string // from the root of the repository
	Hunks []Hunk
}

// Hunk replaces one text by another. Both consist of whole lines.
type Hunk struct {
	Old, New string
}

// parseDiff reads a unified diff. Line numbers do not count, see apply.
func parseDiff(text string) ([]FileDiff, error) {
	var out []FileDiff
	for line := range strings.Lines(text) {
		path, isPath := strings.CutPrefix(line, "+++ b/")
		last := len(out) - 1
		switch {
		case strings.HasPrefix(line, "--- "):
		case isPath:
			out = append(out, FileDiff{Path: strings.TrimSpace(path)})
		case last >= 0 && strings.HasPrefix(line, "@@ "):
			out[last].Hunks = append(out[last].Hunks, Hunk{})
		case last >= 0 && len(out[last].Hunks) > 0:
			if err := out[last].Hunks[len(out[last].Hunks)-1].add(line); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("line %q does not belong to a unified diff", line)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("it has no diff")
	}
	return out, nil
}

func (h *Hunk) add(line string) error {
	switch content := line[1:]; line[0] {
	case ' ':
		h.Old, h.New = h.Old+content, h.New+content
	case '-':
		h.Old += content
	case '+':
		h.New += content
	case '\n':
		h.Old, h.New = h.Old+line, h.New+line
	default:
		return fmt.Errorf("line %q of a diff begins with none of space, - and +", line)
	}
	return nil
}

// apply returns the changed text. The old lines of each hunk must occur exactly once, so
// that the bug is where it was meant to be, however the lines around have moved.
func (d *FileDiff) apply(text string) (string, error) {
	text = "\n" + text // so that a line begins after a line's end
	for _, h := range d.Hunks {
		old := "\n" + h.Old
		if n := strings.Count(text, old); n != 1 {
			return "", fmt.Errorf("%s has these lines %d times instead of once:\n%s", d.Path, n, h.Old)
		}
		if h.Old == h.New {
			return "", fmt.Errorf("%s: these lines are not changed:\n%s", d.Path, h.Old)
		}
		text = strings.Replace(text, old, "\n"+h.New, 1)
	}
	return text[1:], nil
}

// Apply returns the changed files by their path from the root of the repository.
func (m *Mutant) Apply(root string) (map[string]string, error) {
	out := map[string]string{}
	for _, d := range m.Diff {
		text, err := os.ReadFile(filepath.Join(root, d.Path))
		if err != nil {
			return nil, err
		}
		if out[d.Path], err = d.apply(string(text)); err != nil {
			return nil, err
		}
	}
	return out, nil
}
