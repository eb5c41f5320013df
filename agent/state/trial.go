// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/agent/trial"
)

const (
	// trialFile is in the folder of the checkpoint.
	trialFile = "revision.json"

	// maxTrial bounds its size in bytes: it holds two policies, and an object of the API has at
	// most 3 MiB.
	maxTrial = 8 << 20
)

// Trial keeps on disk which policy the node has verified last, and which revision is on trial
// since when. It is beside the journal, and not in it: a journal that could not be written is not
// read again. As with the journal, a goroutine writes it, and a disk that is full, read-only or
// hung is reported, and stops nothing.
type Trial struct {
	path  string
	clock clock.Clock
	wake  func() // called when Failure changes

	mu     sync.Mutex
	next   []byte        // to be written
	done   chan struct{} // closed when it was tried; nil: nothing is to be written
	err    error         // of the last write
	silent bool          // the writer has not finished in time

	loaded chan loadedTrial
	work   chan struct{}
	quit   chan struct{}
	ended  chan struct{}
}

type loadedTrial struct {
	state trial.State
	err   error
}

// OpenTrial opens the file in the folder of the checkpoint, which the journal has locked.
func OpenTrial(dir string, wake func(), clk clock.Clock) *Trial {
	t := &Trial{path: filepath.Join(dir, trialFile), clock: clk, wake: wake, loaded: make(chan loadedTrial, 1),
		work: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	go t.run()
	return t
}

// Load returns what an earlier agent has kept. With an error it is the zero value, and the Trial
// is usable.
func (t *Trial) Load() (trial.State, error) {
	select {
	case l := <-t.loaded:
		return l.state, l.err
	case <-t.clock.After(startPatience):
		return trial.State{}, errSilent
	}
}

// Save keeps a state. It does not wait long for the disk, and not at all for one that has not
// answered before; what cannot be written is tried again.
func (t *Trial) Save(s trial.State) {
	text, err := json.Marshal(s)
	t.mu.Lock()
	if err != nil {
		t.err = fmt.Errorf("encode the state of the revision: %w", err)
		t.mu.Unlock()
		return
	}
	t.next = text
	if t.done == nil {
		t.done = make(chan struct{})
	}
	done, silent := t.done, t.silent
	t.mu.Unlock()
	select {
	case t.work <- struct{}{}:
	default:
	}
	if silent {
		return
	}
	select {
	case <-done:
	case <-t.ended:
	case <-t.clock.After(patience):
		t.mu.Lock()
		defer t.mu.Unlock()
		select {
		case <-done:
		default:
			t.silent = true
		}
	}
}

// Failure returns why the file is not up to date; nil: it is.
func (t *Trial) Failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.silent {
		return errors.Join(errSilent, t.err)
	}
	return t.err
}

// Close stops the writing. It does not wait long for the disk either.
func (t *Trial) Close() error {
	close(t.quit)
	select {
	case <-t.ended:
		return nil
	case <-t.clock.After(startPatience):
		return errSilent
	}
}

// run reads the file, and writes until Close.
func (t *Trial) run() {
	defer close(t.ended)
	var l loadedTrial
	l.state, l.err = readTrial(t.path)
	t.loaded <- l
	retries := backoff.Backoff{Min: writeRetryMin, Max: writeRetryMax}
	var retry <-chan time.Time
	for {
		select {
		case <-t.quit:
			return
		case <-t.work:
		case <-retry:
		}
		retry = nil
		if t.write() {
			retries.Reset()
		} else {
			retry = t.clock.After(retries.Next())
		}
	}
}

// write writes what there is to write, and says whether that succeeded.
func (t *Trial) write() bool {
	t.mu.Lock()
	text, done := t.next, t.done
	t.done = nil
	t.mu.Unlock()
	err := writeTrial(t.path, text)
	t.mu.Lock()
	changed := t.silent || (t.err == nil) != (err == nil)
	t.err, t.silent = err, false
	if done != nil {
		close(done)
	}
	t.mu.Unlock()
	if changed {
		t.wake()
	}
	return err == nil
}

func readTrial(path string) (trial.State, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return trial.State{}, nil
	}
	if err != nil {
		return trial.State{}, fmt.Errorf("open the state of the revision: %w", err)
	}
	defer f.Close()
	if err := private(filepath.Dir(path)); err != nil {
		return trial.State{}, err
	}
	var s trial.State
	text, err := io.ReadAll(io.LimitReader(f, maxTrial))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return trial.State{}, fmt.Errorf("read the state of the revision: %w", err)
	}
	return s, nil
}

// writeTrial writes the file anew, beside the old one, which it then replaces. It is flushed: a
// revision that brings the machine down must not be tried again for ever.
func writeTrial(path string, text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep the state of the revision: %w", err)
		}
	}()
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := private(dir); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		// A part of it is of no use, and a full disk needs the space.
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
