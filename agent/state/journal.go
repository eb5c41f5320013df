// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"maps"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// patience is how long programming waits for the disk: a change is usually in the
	// journal before it is in the kernel, and always soon after.
	patience = 200 * time.Millisecond

	// startPatience is how long the start of the agent waits for the disk.
	startPatience = 5 * time.Second

	// Back-off of a failed write. Each try writes everything, so there are not many; and a
	// disk that works again is found in a minute.
	writeRetryMin = 10 * time.Second
	writeRetryMax = time.Minute
)

// errSilent is returned while the disk does not answer.
var errSilent = errors.New("the disk of the state folder does not answer; programming goes on")

// Journal keeps the last desired state on disk, so that the agent can program it at boot,
// before the apiserver answers. A goroutine writes it: a disk that is full, read-only or
// hung is reported, and neither delays nor stops the programming. After a failure the whole
// state is written, with a back-off.
type Journal struct {
	clock clock.Clock
	wake  func() // called when Failure changes after Append has returned

	mu     sync.Mutex
	next   *batch // for the writer; nil: none
	err    error  // of the last write
	silent bool   // the writer has not finished in time

	loaded chan loaded
	work   chan struct{}
	quit   chan struct{}
	ended  chan struct{}
}

// batch are the changes of one write.
type batch struct {
	changes source.Changes
	written chan struct{} // closed then
}

// loaded is what the file had.
type loaded struct {
	node   *source.NodeRules
	slices map[string]*v1alpha1.ServiceRuleSliceSpec
	err    error
}

// OpenJournal opens the journal in a folder. state returns the state that is desired now.
// The only error is ErrStateLocked: without a usable folder there is nothing to load, and
// Failure says why.
func OpenJournal(dir string, state func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec),
	wake func(), clk clock.Clock) (*Journal, error) {
	j := &Journal{clock: clk, wake: wake, loaded: make(chan loaded, 1),
		work: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	opened := make(chan error, 1)
	open := func() (*journalFile, error) { return openJournalFile(dir, state) }
	go j.run(open, opened)
	select {
	case err := <-opened:
		if errors.Is(err, ErrStateLocked) {
			return nil, errors.Join(err, j.Close())
		}
	case <-clk.After(startPatience):
	}
	return j, nil
}

// Load returns what the journal had when it was opened. node is nil if there is none, or
// none to be used.
func (j *Journal) Load() (node *source.NodeRules, slices map[string]*v1alpha1.ServiceRuleSliceSpec, err error) {
	select {
	case l := <-j.loaded:
		return l.node, l.slices, l.err
	case <-j.clock.After(startPatience):
		return nil, nil, errSilent
	}
}

// Append notes changes, before they are programmed: a killed agent must not take the kernel
// back to an older state. It does not wait long for the disk, and not at all for one that
// has not answered before.
func (j *Journal) Append(ch source.Changes) error {
	j.mu.Lock()
	if j.err != nil {
		// What is on the disk is marked as outdated, and the next write is of everything.
		defer j.mu.Unlock()
		return j.err
	}
	if j.next == nil {
		j.next = &batch{changes: source.Changes{Slices: map[string]*v1alpha1.ServiceRuleSliceSpec{}}, written: make(chan struct{})}
	}
	b, silent := j.next, j.silent
	if ch.Node != nil {
		b.changes.Node = ch.Node
	}
	maps.Copy(b.changes.Slices, ch.Slices)
	j.mu.Unlock()
	select {
	case j.work <- struct{}{}:
	default:
	}
	if !silent {
		select {
		case <-b.written:
		case <-j.ended:
		case <-j.clock.After(patience):
			j.mu.Lock()
			j.silent = true
			j.mu.Unlock()
		}
	}
	return j.Failure()
}

// Failure returns why the journal is not up to date; nil: it is.
func (j *Journal) Failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.silent {
		return errors.Join(errSilent, j.err)
	}
	return j.err
}

// Close stops the writing. It does not wait long for the disk either.
func (j *Journal) Close() error {
	close(j.quit)
	select {
	case <-j.ended:
		return nil
	case <-j.clock.After(startPatience):
		return errSilent
	}
}

// run opens the file, reads it, and writes until Close.
func (j *Journal) run(open func() (*journalFile, error), opened chan<- error) {
	defer close(j.ended)
	file, err := open()
	opened <- err
	defer func() {
		if file != nil {
			_ = file.Close() // there is nothing left to do
		}
	}()
	l := loaded{err: err}
	if err == nil {
		l.node, l.slices, l.err = file.Load()
	}
	j.loaded <- l
	retries := backoff.Backoff{Min: writeRetryMin, Max: writeRetryMax}
	var retry <-chan time.Time
	j.finish(nil, err)
	for {
		if err != nil {
			retry = j.clock.After(retries.Next())
		} else {
			retries.Reset()
			retry = nil
		}
		select {
		case <-j.quit:
			return
		case <-j.work:
		case <-retry:
		}
		b := j.take()
		if b == nil && err == nil {
			continue
		}
		if file == nil {
			file, err = open()
		}
		if file != nil {
			var ch source.Changes
			if b != nil {
				ch = b.changes
			}
			err = file.Append(ch)
		}
		j.finish(b, err)
	}
}

func (j *Journal) take() *batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.next
	j.next = nil
	return b
}

// finish notes the end of a write.
func (j *Journal) finish(b *batch, err error) {
	j.mu.Lock()
	changed := j.silent || (j.err == nil) != (err == nil)
	j.err, j.silent = err, false
	j.mu.Unlock()
	if b != nil {
		close(b.written)
	}
	if changed {
		j.wake()
	}
}
