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

	"github.com/fairlead-proxy/fairlead/rules/inspection"
)

// Observed says which connections to observe.
type Observed struct {
	inspection.Filter
	// Clients are the addresses of the clients; nil: all. OwnClients: those of the node.
	Clients    []string
	OwnClients bool
}

// Nodes are the nodes with an agent, sorted.
func (a *Agents) Nodes() []string { return slices.Sorted(maps.Keys(a.pods)) }

// Observe writes what `fairlead-agent observe` prints on a node, until ctx ends (nil) or an error.
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
	// The command ends with its standard input, which ends with the connection to the apiserver, whatever becomes of us.
	in, end := io.Pipe()
	defer context.AfterFunc(ctx, func() { _ = end.Close() })() // it returns no error
	_, err := a.run(ctx, node, command, Streams{In: in, Out: out})
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		return errors.New("the agent's Pod has ended the observation")
	}
	return err
}
