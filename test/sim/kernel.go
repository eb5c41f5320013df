// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// mode is the name of the simulated mode.
const mode = v1alpha1.ModeNFTables

// life is the life of one agent: when it is over, nothing of the process has an effect.
type life struct {
	over   atomic.Bool
	cancel context.CancelFunc
}

// kernel is the kernel of a node, which outlives the agents.
type kernel struct {
	*fake.Dataplane
	programmed func() // called after each change, by the agent's goroutine
	crash      func(*life)

	mu     sync.Mutex
	faults []kernelFault
}

// kernelFault is what happens to a programming.
type kernelFault int

const (
	failFirst  kernelFault = iota // nothing is done
	failAfter                     // it is done, and an error is returned
	failHalf                      // a part is done
	stall                         // it takes long
	crashFirst                    // the agent is killed before
	crashAfter                    // the agent is killed after
	kernelFaults
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
	k.faults = nil
}

func (k *kernel) next() (f kernelFault, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
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
	return h.do(ctx, func() (dataplane.Result, error) { return h.Dataplane.Sync(ctx, desired, o) }, func() error {
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
	return h.do(ctx, func() (dataplane.Result, error) { return h.Dataplane.Apply(ctx, delta) }, func() error {
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

// do programs, with the fault that is due.
func (h *handle) do(ctx context.Context, all func() (dataplane.Result, error), half func() error) (dataplane.Result, error) {
	if h.life.over.Load() {
		return dataplane.Result{}, errKilled
	}
	defer h.kernel.programmed()
	f, ok := h.kernel.next()
	if !ok {
		return all()
	}
	switch f {
	case failAfter:
		_, err := all()
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
		h.kernel.crash(h.life)
		return dataplane.Result{}, errKilled
	case crashAfter:
		_, err := all()
		h.kernel.crash(h.life)
		return dataplane.Result{}, errors.Join(errKilled, err)
	}
	return dataplane.Result{}, errKernel
}
