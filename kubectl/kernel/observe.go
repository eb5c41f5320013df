// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/inspection"
)

// Observed says which connections to observe.
type Observed struct {
	inspection.Filter
	// Clients are the addresses of the clients; nil: all. OwnClients: those of the node.
	Clients    []string
	OwnClients bool
}

// endTimeout is how long the command may take to end.
const endTimeout = time.Second

// Nodes are the nodes with an agent, sorted.
func (a *Agents) Nodes() []string { return slices.Sorted(maps.Keys(a.pods)) }

// Observe writes what `fairlead-agent observe` prints on a node, until ctx ends (nil) or an error, also of out.
func (a *Agents) Observe(ctx context.Context, node string, o Observed, out io.Writer) error {
	command := []string{program, "observe"}
	for _, flag := range []struct{ name, value string }{{"--service=", o.Service}, {"--port=", o.Port}, {"--clients=", strings.Join(o.Clients, ",")}} {
		if flag.value != "" {
			command = append(command, flag.name+flag.value)
		}
	}
	if o.OwnClients {
		command = append(command, "--own-clients")
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// The command ends with its standard input, which ends with the connection to the apiserver, whatever becomes of us. The
	// connection stays until the command has ended: client-go logs what it cannot read any more.
	connected, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	in, end := io.Pipe()
	defer context.AfterFunc(running, func() {
		_ = end.Close() // it returns no error
		time.AfterFunc(endTimeout, abort)
	})()
	_, err := a.run(connected, node, command, Streams{In: in, Out: &ending{to: out, end: stop}})
	switch {
	case ctx.Err() != nil:
		return nil
	case running.Err() != nil:
		return context.Cause(running)
	case err == nil:
		return errors.New("the agent's Pod has ended the observation")
	}
	return err
}

// ending ends a command with the first error of its output: client-go only logs it, and goes on.
type ending struct {
	to    io.Writer
	end   context.CancelCauseFunc
	ended bool
}

func (e *ending) Write(b []byte) (int, error) {
	if e.ended {
		return len(b), nil
	}
	if _, err := e.to.Write(b); err != nil {
		e.ended = true
		e.end(err)
	}
	return len(b), nil
}
