// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// mode is the name of the simulated mode.
const mode = v1alpha1.ModeNFTables

// kernel is the kernel of a node, which outlives the agents.
type kernel struct {
	*fake.Dataplane
	programmed func(*life) // called after each call, by the agent's goroutine
	crash      func(*life, kernelFault)

	mu     sync.Mutex
	faults []kernelFault
	broken bool // each call fails
	// unsure says that the kernel may not be what the agent has last asked for, and drifted that
	// it was changed since the agent has last compared all of it.
	unsure, drifted bool
}

// kernelFault is what happens to a programming.
type kernelFault int

const (
	failFirst    kernelFault = iota // nothing is done
	failAfter                       // it is done, and an error is returned
	failHalf                        // a part is done
	stall                           // it takes long
	crashFirst                      // the agent is killed before
	crashAfter                      // the agent is killed after
	kernelFaults                    // their number
	crashApart                      // as crashAfter, and the node is cut off
)

var (
	errKernel = errors.New("simulated: the kernel fails")
	errKilled = errors.New("simulated: the agent is killed")
)

func newKernel() *kernel { return &kernel{Dataplane: fake.New()} }

// inject lets the next programming fail.
func (k *kernel) inject(f kernelFault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = append(k.faults, f)
}

func (k *kernel) heal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults, k.broken = nil, false
}

// fail lets each programming fail until heal.
func (k *kernel) fail() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults, k.broken = nil, true
}

// doubt notes whether the kernel may not be what the agent has last asked for. It returns
// what was noted before.
func (k *kernel) doubt(unsure bool) (before bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, k.unsure = k.unsure, unsure
	return before
}

func (k *kernel) isSure() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.unsure && !k.drifted
}

// drifts notes whether the kernel was changed since all of it was compared.
func (k *kernel) drifts(drifted bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drifted = drifted
}

// empty empties the kernel: the node was rebooted.
func (k *kernel) empty() {
	k.drifts(true)
	k.Clear()
}

// drift changes the kernel, as another program does.
func (k *kernel) drift(change func(*model.Desired)) {
	k.drifts(true)
	k.Drift(change)
}

func (k *kernel) next() (f kernelFault, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken {
		return failFirst, true
	}
	if len(k.faults) == 0 {
		return 0, false
	}
	f, k.faults = k.faults[0], k.faults[1:]
	return f, true
}

// mode is the mode that an agent opens. A proxy has nothing in connection tracking, which
// is real.
func (k *kernel) mode(l *life) dataplane.Mode {
	return dataplane.Mode{Name: mode, AutoRank: 1, Kind: dataplane.Proxy,
		Open: func(dataplane.Env) (dataplane.Dataplane, error) {
			return &handle{kernel: k, Dataplane: k.Dataplane, life: l}, nil
		}}
}

// handle is the kernel in the hands of one agent.
type handle struct {
	dataplane.Dataplane
	kernel *kernel
	life   *life
}

// Sync implements dataplane.Dataplane.
func (h *handle) Sync(ctx context.Context, desired model.Desired, o dataplane.Options) (dataplane.Result, error) {
	return h.do(ctx, true, func() (dataplane.Result, error) { return h.Dataplane.Sync(ctx, desired, o) }, func() error {
		// Half of it is there; what was there before stays.
		part := h.kernel.Kernel()
		n := 0
		for key, f := range desired.Frontends {
			if n++; n%2 == 0 {
				part.Frontends[key] = f
			}
		}
		_, err := h.Dataplane.Sync(ctx, part, o)
		return err
	})
}

// Apply implements dataplane.Dataplane.
func (h *handle) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	return h.do(ctx, false, func() (dataplane.Result, error) { return h.Dataplane.Apply(ctx, delta) }, func() error {
		delta.Frontends = delta.Frontends[:len(delta.Frontends)/2]
		_, err := h.Dataplane.Apply(ctx, delta)
		return err
	})
}

// Cleanup implements dataplane.Dataplane.
func (h *handle) Cleanup(ctx context.Context) error {
	if h.life.over.Load() {
		return errKilled
	}
	return h.Dataplane.Cleanup(ctx)
}

// do programs, with the fault that is due. whole: after it the kernel is as desired, whatever
// it was before.
func (h *handle) do(ctx context.Context, whole bool, program func() (dataplane.Result, error), half func() error) (dataplane.Result, error) {
	if h.life.over.Load() {
		return dataplane.Result{}, errKilled
	}
	h.life.begins()
	defer h.kernel.programmed(h.life)
	unsure := h.kernel.doubt(true)
	all := func() (dataplane.Result, error) {
		if whole {
			h.kernel.drifts(false)
		}
		result, err := program()
		if err == nil {
			h.kernel.doubt(unsure && !whole)
			h.life.succeeds()
		}
		return result, err
	}
	f, ok := h.kernel.next()
	if !ok {
		return all()
	}
	switch f {
	case failAfter:
		// The agent does not know that it has succeeded: what it journals until the next try is not there.
		_, err := program()
		return dataplane.Result{}, errors.Join(errKernel, err)
	case failHalf:
		return dataplane.Result{}, errors.Join(errKernel, half())
	case stall:
		select {
		case <-ctx.Done():
			return dataplane.Result{}, ctx.Err()
		case <-time.After(5 * time.Second):
		}
		if h.life.over.Load() {
			return dataplane.Result{}, errKilled
		}
		return all()
	case crashFirst:
		h.kernel.crash(h.life, f)
		return dataplane.Result{}, errKilled
	case crashAfter, crashApart:
		_, err := all()
		h.kernel.crash(h.life, f)
		return dataplane.Result{}, errors.Join(errKilled, err)
	}
	return dataplane.Result{}, errKernel
}
