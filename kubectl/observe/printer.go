// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// Printer writes the events of several nodes as they come.
type Printer struct {
	Names *Names
	JSON  bool
	// Zone is that of times in the text.
	Zone *time.Location
	// Started is called when a node has begun.
	Started func(observation.Start)

	mu sync.Mutex
	to io.Writer
}

// NewPrinter returns a Printer.
func NewPrinter(to io.Writer) *Printer {
	return &Printer{Names: &Names{}, Zone: time.Local, Started: func(observation.Start) {}, to: to}
}

// Node returns a writer for what a node's agent prints. A part of a line waits for the rest.
func (p *Printer) Node() io.Writer { return &reader{printer: p} }

// reader reads what an agent prints.
type reader struct {
	printer *Printer
	part    []byte
	started bool
}

// Write returns an error for what no agent prints.
func (r *reader) Write(b []byte) (int, error) {
	r.part = append(r.part, b...)
	var out bytes.Buffer
	for {
		line, rest, complete := bytes.Cut(r.part, []byte("\n"))
		if !complete {
			break
		}
		if err := r.read(line, &out); err != nil {
			return 0, err
		}
		r.part = rest
	}
	if out.Len() == 0 {
		return len(b), nil
	}
	r.printer.mu.Lock()
	defer r.printer.mu.Unlock()
	if _, err := r.printer.to.Write(out.Bytes()); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	return len(b), nil
}

func (r *reader) read(line []byte, out *bytes.Buffer) error {
	if !r.started {
		var start observation.Start
		if err := json.Unmarshal(line, &start); err != nil {
			return fmt.Errorf("read what the agent prints: %w", err)
		}
		if start.Version != observation.Version {
			return fmt.Errorf("the agent's release answers in version %q, and this plugin reads %s", start.Version, observation.Version)
		}
		r.started = true
		r.printer.Started(start)
		return nil
	}
	var event observation.Event
	if err := json.Unmarshal(line, &event); err != nil {
		return fmt.Errorf("read what the agent prints: %w", err)
	}
	r.printer.print(&event, out)
	return nil
}

// print names an event's addresses, and writes it.
func (p *Printer) print(e *observation.Event, out *bytes.Buffer) {
	client := p.name(e.Client, Name{e.ClientPod, e.ClientNode})
	endpoint := p.name(e.Endpoint, Name{e.EndpointPod, e.EndpointNode})
	e.ClientPod, e.ClientNode, e.EndpointPod, e.EndpointNode = client.Pod, client.Node, endpoint.Pod, endpoint.Node
	if p.JSON {
		_ = json.NewEncoder(out).Encode(e) // a buffer takes everything
		return
	}
	at := e.Time.In(p.Zone).Format("15:04:05.000")
	if e.Lost > 0 {
		fmt.Fprintf(out, "%s %s: %d connections lost, which came faster than they could be read\n", at, e.Node, e.Lost)
		return
	}
	service := e.Service
	if e.Port != "" {
		service += ":" + e.Port
	}
	fmt.Fprintf(out, "%s %s: %s -> %s (%s) -> %s\n", at, e.Node, named(client, e.Client), service, e.Destination, named(endpoint, e.Endpoint))
}

// name returns whose an address and port is, by the agent or else by its Pod.
func (p *Printer) name(at string, known Name) Name {
	addr, err := netip.ParseAddrPort(at)
	if err != nil || known != (Name{}) {
		return known
	}
	return p.Names.of(addr.Addr().String())
}

// named writes names as the flag --from has them.
func named(n Name, address string) string {
	if n.Node != "" {
		n.Node = "node/" + n.Node
	}
	if name := cmp.Or(n.Pod, n.Node); name != "" {
		return name + " (" + address + ")"
	}
	return address
}
