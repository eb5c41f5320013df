// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// lookInterval is the interval of a follower.
const lookInterval = 5 * time.Second

// asks ask the running agent: for all, or whether anything has changed.
type asks struct {
	wanted  func() (engine.Wanted, error)
	changes func() (uint64, error)
}

// follower knows the rules that the agent has at the moment.
type follower struct {
	options  ObserveOptions
	asks     asks
	interval time.Duration // at which to look whether the rules have changed

	mu      sync.Mutex
	mode    dataplane.Mode
	changes uint64
	rules   *observation.Rules
	clients []netip.Addr // nil: all
	next    time.Time    // not before it the agent is asked again
}

// How often the agent is asked at most: all the rules of a large cluster take it, and this process, a good part
// of a second.
const (
	minPause   = time.Second
	pauseTimes = 100 // as long as it took
)

// look asks the agent for the rules.
func (f *follower) look() error {
	wanted, err := f.asks.wanted()
	if err != nil {
		return err
	}
	mode, err := modeOf(f.options.Modes, wanted.Mode)
	if err != nil {
		return err
	}
	addresses, err := f.options.Addresses()
	if err != nil {
		return fmt.Errorf("list the node's addresses: %w", err)
	}
	rules, err := rulesOf(f.options.Node, wanted.Desired, addresses)
	if err != nil {
		return err
	}
	f.mode, f.changes, f.rules, f.clients = mode, wanted.Changes, rules, f.options.Clients
	if f.options.OwnClients {
		f.clients = addresses
	}
	return nil
}

// errMoved says that another source has the flows now.
var errMoved = errors.New("the mode has changed")

// lookAgain looks if something has changed, and it is time; then it calls selected, or returns errMoved. An agent that does not answer has changed nothing: it may be in
// the middle of a restart.
func (f *follower) lookAgain(selected func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.next) {
		return nil
	}
	began := time.Now()
	defer func() { f.next = time.Now().Add(max(minPause, pauseTimes*time.Since(began))) }()
	changes, err := f.asks.changes()
	if err != nil || changes == f.changes {
		return nil
	}
	before := f.mode
	if err := f.look(); err != nil {
		return err
	}
	if opens(before) != opens(f.mode) {
		return errMoved
	}
	return selected()
}

// selection is what the source selects.
func (f *follower) selection() conntrack.Selection {
	return conntrack.Selection{Clients: f.clients, Destinations: destinationsOf(f.rules.Frontends, f.options.Filter)}
}

// opens says whether the agent opens the connections of a mode itself.
func opens(m dataplane.Mode) bool { return m.Flows != nil }

// open opens the source of flows. Those of the kernel are of a network namespace, as in conntrack.NewTable.
func (f *follower) open(ctx context.Context, netns int) (flowSource, error) {
	if opens(f.mode) {
		return openProxied(ctx, f.options.StateDir, f.selection())
	}
	events, err := conntrack.OpenEvents(netns, f.options.Sysctls, f.selection())
	return tracked{events}, err
}

// event returns what is shown of a flow.
func (f *follower) event(now time.Time, flow observation.Flow, selected func() error) (event observation.Event, shown bool, err error) {
	event, known := f.name(now, flow)
	if !known {
		// It is to a Service that is new, or another program translates it.
		if err := f.lookAgain(selected); err != nil {
			return event, false, err
		}
		event, known = f.name(now, flow)
	}
	return event, known && event.Service != "", nil
}

// name returns an empty event of what is not shown; known is false if it is not known to what it is.
func (f *follower) name(now time.Time, flow observation.Flow) (event observation.Event, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clients != nil && !slices.Contains(f.clients, flow.Client.Addr()) {
		return event, true
	}
	to := f.rules.FrontendOf(flow)
	if to == nil || !f.options.Filter.Shows(to) {
		return event, to != nil
	}
	return f.rules.Event(now, flow, to), true
}
