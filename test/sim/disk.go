// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// checkpoint is the agent's journal in its state folder.
const checkpoint = "checkpoint"

// disk is the folder of an agent's state, in the real file system: only its failures are
// simulated. A disk that does not answer is not: the test would wait for it in real time.
type disk struct {
	root string // of all folders of the node
	dir  string // the agent's
	n    int
}

// take copies the folder, as a killed agent leaves it, into a new one: what the old agent
// still writes is lost.
func (d *disk) take() error {
	d.n++
	old := d.dir
	d.dir = filepath.Join(d.root, fmt.Sprint(d.n))
	if err := os.MkdirAll(d.dir, 0o700); err != nil || old == "" {
		return err
	}
	for _, name := range []string{checkpoint, "modes.json"} {
		text, err := os.ReadFile(filepath.Join(old, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(d.dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// full lets the next writes fail: the journal is not where the agent has opened it, and no
// new one can be made.
func (d *disk) full() error {
	path := filepath.Join(d.dir, checkpoint)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(path+".new", 0o700)
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".copy", text, 0o600); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".copy", path), os.MkdirAll(path+".new", 0o700))
}

// heal ends full.
func (d *disk) heal() error {
	err := os.Remove(filepath.Join(d.dir, checkpoint+".new"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// tear cuts some bytes off the journal: the machine went down.
func (d *disk) tear(bytes int64) error {
	path := filepath.Join(d.dir, checkpoint)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Truncate(path, max(0, info.Size()-bytes))
}

// tearRecord cuts some bytes off the journal, but never whole records only: the agent was killed
// in the middle of a write, and nothing is lost of what it had written before. A journal that ends
// with an older record would be an older one, which nothing could tell.
func (d *disk) tearRecord(bytes int64) error {
	if err := d.tear(bytes); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(d.dir, checkpoint))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !endsWithRecord(text) {
		return nil
	}
	return errors.Join(err, d.tear(1))
}

// recordHead is the size of what is before the text of a record: its length and CRC-32.
const recordHead = 8

// endsWithRecord says whether all records of a journal are whole.
func endsWithRecord(journal []byte) bool {
	for len(journal) >= recordHead {
		n := recordHead + int(binary.BigEndian.Uint32(journal))
		if len(journal) < n {
			return false
		}
		journal = journal[n:]
	}
	return len(journal) == 0
}

// lose removes the journal.
func (d *disk) lose() error { return os.RemoveAll(filepath.Join(d.dir, checkpoint)) }

// reboot makes the journal one of an earlier boot.
func (d *disk) reboot() error {
	path := filepath.Join(d.dir, checkpoint)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || len(text) < recordHead {
		return nil
	}
	if err != nil {
		return err
	}
	length := int(binary.BigEndian.Uint32(text))
	if len(text) < recordHead+length {
		return nil // it is torn
	}
	record, err := json.Marshal(map[string]string{"boot": "an earlier one"})
	if err != nil {
		return err
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(record)))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(record))
	out = append(append(out, record...), text[recordHead+length:]...)
	return os.WriteFile(path, out, 0o600)
}
