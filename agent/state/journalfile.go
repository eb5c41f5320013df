// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package state is what the agent keeps on the node's disk: what to program at boot,
// and which modes have left something in the kernel.
package state

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// journalFile keeps the last desired state on disk, so that the agent can
// program it at boot, before the apiserver answers. Its methods wait for the disk.
//
// It is a journal: every change is appended before it is programmed, so that a
// killed agent finds at its restart what was programmed last, and costs
// one small write. Nothing is flushed to the disk then: a crash of the machine
// empties the kernel too, and an older state is good enough to boot from. A
// torn or damaged tail ends the reading. When most of the journal is outdated,
// it is written anew (and flushed) beside the old one, which it then replaces.
type journalFile struct {
	path  string
	lock  *os.File
	file  *os.File
	boot  string // of the kernel, see bootID
	wrote string // the boot that has begun the journal
	size  int64
	live  int64 // size at the last compaction
	torn  bool  // by tear
	state func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec)
}

// record is an entry of the journal: the boot that wrote it (first), the node's
// rules, or a slice, deleted if it has no spec.
type record struct {
	Boot  string                         `json:"boot,omitempty"`
	Node  *source.NodeRules              `json:"node,omitempty"`
	Name  string                         `json:"name,omitempty"`
	Slice *v1alpha1.ServiceRuleSliceSpec `json:"slice,omitempty"`
}

const (
	// compactionMin is the size of the journal in bytes below which it is never
	// worth writing anew.
	compactionMin = 1 << 20

	// maxRecord bounds a record's size in bytes: the apiserver takes no object
	// above 3 MiB, so a larger length is damage.
	maxRecord = 8 << 20
)

// ErrStateLocked is returned when another agent uses the state folder.
var ErrStateLocked = errors.New("another agent uses this state folder; give each agent its own with --state-dir")

// openJournalFile locks the folder and opens the journal in it. state returns
// what a compaction writes.
func openJournalFile(dir string, state func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec)) (*journalFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the state folder's lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrStateLocked)
	}
	return &journalFile{path: filepath.Join(dir, "checkpoint"), lock: lock, boot: bootID(), state: state}, nil
}

// private returns an error if another user can write to a folder: the agent would program
// what is in it.
func private(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("check the state folder: %w", err)
	}
	owner := -1
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(stat.Uid)
	}
	if info.Mode()&0o022 != 0 || owner != os.Geteuid() {
		return fmt.Errorf("the state folder %s has mode %#o and owner %d: it must belong to the agent's user, and no other may write to it",
			dir, info.Mode().Perm(), owner)
	}
	return nil
}

// bootID names the running kernel's boot. Without /proc every start counts as
// the first after a boot.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// errOutdated is returned with a damaged journal of this very boot: the kernel
// may hold newer rules than what could be read, so it must not be programmed.
var errOutdated = errors.New("the checkpoint is damaged and was written since the machine booted: not used")

// Load reads the journal. node is nil if there is none, or none to be used.
func (c *journalFile) Load() (node *source.NodeRules, slices map[string]*v1alpha1.ServiceRuleSliceSpec, err error) {
	slices = map[string]*v1alpha1.ServiceRuleSliceSpec{}
	f, err := os.OpenFile(c.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, slices, nil
	}
	if err != nil {
		return nil, slices, fmt.Errorf("open the checkpoint: %w", err)
	}
	defer f.Close()
	boot, in := "", bufio.NewReaderSize(f, 1<<16)
	for {
		r, err := readRecord(in)
		switch {
		case errors.Is(err, io.EOF):
			return node, slices, nil
		case err != nil && boot != "" && boot == c.boot:
			return nil, nil, fmt.Errorf("%w (%w)", errOutdated, err)
		case err != nil:
			// The machine went down before the tail reached the disk, and the
			// kernel is empty: what can be read was programmed not long before.
			return node, slices, fmt.Errorf("the end of the checkpoint was left out: %w", err)
		}
		switch name := r.Name; {
		case r.Boot != "":
			boot, c.wrote = r.Boot, r.Boot
		case r.Node != nil:
			node = r.Node
		case r.Slice == nil:
			delete(slices, name)
		default:
			slices[name] = r.Slice
		}
	}
}

// Append notes changes. If it cannot, what is on the disk is marked as older
// than the kernel's rules.
func (c *journalFile) Append(ch source.Changes) error {
	err := c.note(ch)
	if err != nil && !c.torn {
		err = errors.Join(err, c.tear())
	}
	c.torn = err != nil
	return err
}

// tear takes the last byte off the journal, for which no disk is too full: load
// will not use it in this boot, and all but its last record in the next. A journal of an
// earlier boot is emptied: load would take it for what the machine went down with.
func (c *journalFile) tear() error {
	info, err := os.Stat(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		left := info.Size() - 1
		if c.wrote != c.boot || c.boot == "" {
			left = 0
		}
		err = os.Truncate(c.path, max(left, 0))
	}
	if err != nil {
		return fmt.Errorf("mark the checkpoint as outdated: %w", err)
	}
	return nil
}

func (c *journalFile) note(ch source.Changes) error {
	if !c.inPlace() || c.size > compactionMin && c.size > 3*c.live {
		return c.compact()
	}
	var buf []byte
	var err error
	if ch.Node != nil {
		if buf, err = appendRecord(buf, record{Node: ch.Node}); err != nil {
			return err
		}
	}
	for name, spec := range ch.Slices {
		if buf, err = appendRecord(buf, record{Name: name, Slice: spec}); err != nil {
			return err
		}
	}
	n, err := c.file.Write(buf)
	c.size += int64(n)
	if err != nil {
		// The tail may be torn: what would follow it could not be read back.
		c.file.Close()
		c.file = nil
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	return nil
}

// inPlace says whether the journal is open, and still where load looks for it.
func (c *journalFile) inPlace() bool {
	if c.file == nil {
		return false
	}
	open, err := c.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(c.path)
	return err == nil && os.SameFile(open, there)
}

// compact writes the whole state into a new journal and replaces the old one.
func (c *journalFile) compact() (err error) {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
	f, err := os.OpenFile(c.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("make a new checkpoint: %w", err)
	}
	defer func() {
		if err != nil {
			// A part of the new journal is of no use, and a full disk needs the space.
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	size, err := writeState(f, c.boot, c.state)
	if err != nil {
		return fmt.Errorf("write a new checkpoint: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush the new checkpoint: %w", err)
	}
	if err := os.Rename(f.Name(), c.path); err != nil {
		return fmt.Errorf("replace the checkpoint: %w", err)
	}
	c.file, c.size, c.live, c.wrote = f, size, size, c.boot
	return nil
}

func writeState(f *os.File, boot string, state func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec)) (size int64, err error) {
	out := bufio.NewWriterSize(f, 1<<16)
	node, slices := state()
	write := func(r record) error {
		buf, err := appendRecord(nil, r)
		if err != nil {
			return err
		}
		n, err := out.Write(buf)
		size += int64(n)
		return err
	}
	if err := write(record{Boot: boot}); err != nil {
		return 0, err
	}
	if node != nil {
		if err := write(record{Node: node}); err != nil {
			return 0, err
		}
	}
	for name, spec := range slices {
		if err := write(record{Name: name, Slice: spec}); err != nil {
			return 0, err
		}
	}
	return size, out.Flush()
}

// Close closes the journal and unlocks the folder.
func (c *journalFile) Close() error {
	var err error
	if c.file != nil {
		err = c.file.Close()
	}
	return errors.Join(err, c.lock.Close())
}

// A record is its length and the CRC-32 of its text, 4 bytes each and big
// endian, and its text (JSON).
func appendRecord(buf []byte, r record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode a checkpoint record: %w", err)
	}
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(text)))
	buf = binary.BigEndian.AppendUint32(buf, crc32.ChecksumIEEE(text))
	return append(buf, text...), nil
}

var errDamaged = errors.New("damaged record")

func readRecord(in *bufio.Reader) (record, error) {
	var head [8]byte
	if n, err := io.ReadFull(in, head[:]); err != nil {
		if n > 0 {
			return record{}, errDamaged
		}
		return record{}, err
	}
	length, sum := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
	if length > maxRecord {
		return record{}, errDamaged
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(in, text); err != nil || crc32.ChecksumIEEE(text) != sum {
		return record{}, errDamaged
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if r.Slice != nil && r.Name != model.SliceNameOf(r.Slice) {
		return record{}, fmt.Errorf("%w: the slice %s has the spec of another one", errDamaged, r.Name)
	}
	return r, nil
}
