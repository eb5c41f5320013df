// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// ObserveOptions are what an observation needs.
type ObserveOptions struct {
	Node     string
	StateDir string // of the running agent
	Sysctls  sysctl.Parameters
	Modes    []dataplane.Mode
	// Filter says which Service's connections to show.
	Filter inspection.Filter
	// Clients are the only ones whose connections are shown; nil: all. OwnClients says that they are the addresses of
	// the node.
	Clients    []netip.Addr
	OwnClients bool
	// Addresses returns the addresses of the node.
	Addresses func() ([]netip.Addr, error)
}

// Observe writes new connections to Services until ctx ends: an observation.Start, then observation.Events.
// Which Service a connection is to, the running agent says, and if it opens the connections itself, which there are. Else
// all is between the kernel and this process, and the agent does nothing for a connection.
func Observe(ctx context.Context, o ObserveOptions, out io.Writer) error {
	f := &follower{options: o, interval: lookInterval, asks: asks{
		wanted:  func() (engine.Wanted, error) { return ask(ctx, o.StateDir) },
		changes: func() (uint64, error) { return askChanges(ctx, o.StateDir) },
	}}
	return observe(ctx, f, 0, out)
}

// observe follows the flows of a network namespace, as in conntrack.NewTable.
func observe(ctx context.Context, f *follower, netns int, out io.Writer) error {
	if err := f.look(); err != nil {
		return err
	}
	p := newPrinter(out)
	for started := false; ; started = true {
		source, err := f.open(ctx, netns)
		if err != nil {
			return err
		}
		if !started {
			p.print(observation.Start{Version: observation.Version, Node: f.options.Node, Mode: f.mode.Name})
			err = p.flush()
		}
		if err == nil {
			err = show(ctx, f, source, p)
		}
		if err := errors.Join(err, source.Close()); !errors.Is(err, errMoved) {
			return err
		}
	}
}

// show prints the flows of a source until ctx ends (nil) or an error.
func show(ctx context.Context, f *follower, source flowSource, p *printer) error {
	selected := func() error { return source.Select(f.selection()) }
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	looked := make(chan struct{})
	defer func() { fail(nil); <-looked }()
	go func() {
		defer close(looked)
		every(ctx, f.interval, func() {
			if err := f.lookAgain(selected); err != nil {
				fail(err)
			}
		})
	}()
	var now time.Time // of those that are read together
	var lost uint32
	err := source.Follow(ctx, func(flow observation.Flow) {
		if now.IsZero() {
			now = time.Now()
		}
		event, shown, err := f.event(now, flow, selected)
		if err != nil {
			fail(err)
		} else if shown {
			p.print(event)
		}
	}, func(dropped uint32) error {
		if dropped != lost {
			p.print(observation.Event{Time: time.Now(), Node: f.options.Node, Lost: uint64(dropped - lost)})
			lost = dropped
		}
		now = time.Time{}
		return p.flush()
	})
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// printer prints JSON, one object a line.
type printer struct {
	lines  *bufio.Writer
	encode *json.Encoder
}

func newPrinter(to io.Writer) *printer {
	lines := bufio.NewWriterSize(to, 64<<10)
	return &printer{lines, json.NewEncoder(lines)}
}

// print leaves an error to flush.
func (p *printer) print(object any) { _ = p.encode.Encode(object) }

func (p *printer) flush() error {
	if err := p.lines.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// every calls do until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// loopback is where node ports answer in addition to the node's addresses, if they do.
var loopback = netip.MustParseAddr("127.0.0.1")

// rulesOf returns the rules of what is desired of a node with some addresses.
func rulesOf(node string, d model.Desired, addresses []netip.Addr) (*observation.Rules, error) {
	nodePorts, err := d.Node.NodePortsOn(func() ([]netip.Addr, error) { return addresses, nil })
	if err != nil {
		return nil, err
	}
	if d.Node.NodePortLocalhost {
		nodePorts[loopback] = struct{}{}
	}
	own := map[netip.Addr]struct{}{}
	for _, a := range addresses {
		own[a] = struct{}{}
	}
	return &observation.Rules{Node: node, Frontends: d.Frontends, NodePortAddresses: nodePorts, Addresses: own}, nil
}

// destinationsOf returns what the kernel compares: where the Service of a filter answers.
func destinationsOf(d map[model.FrontendKey]*model.Frontend, f inspection.Filter) []conntrack.Destination {
	if f.Service == "" {
		return nil
	}
	out := []conntrack.Destination{}
	for key, frontend := range d {
		if f.Shows(frontend) {
			out = append(out, conntrack.Destination{Protocol: uint8(key.Protocol), Address: key.Address, Port: key.Port})
		}
	}
	slices.SortFunc(out, func(a, b conntrack.Destination) int { return a.Address.Compare(b.Address) })
	return out
}
