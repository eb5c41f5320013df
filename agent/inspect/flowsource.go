// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// flowSource is where new flows come from, as conntrack.Events.
type flowSource interface {
	Select(conntrack.Selection) error
	Follow(ctx context.Context, each func(observation.Flow), rest func(dropped uint32) error) error
	Close() error
}

// tracked are the flows that the kernel forwards.
type tracked struct{ *conntrack.Events }

func (t tracked) Follow(ctx context.Context, each func(observation.Flow), rest func(dropped uint32) error) error {
	return t.Events.Follow(ctx, func(e conntrack.Entry) {
		each(observation.Flow{Protocol: model.Protocol(e.Protocol), Client: e.Source, Destination: e.Destination, Endpoint: e.Endpoint})
	}, rest)
}

// proxied are the flows that the running agent opens itself.
type proxied struct {
	conn   net.Conn
	encode *json.Encoder
	decode *json.Decoder
}

// openProxied connects to the running agent.
func openProxied(ctx context.Context, stateDir string, s conntrack.Selection) (*proxied, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", flowsSocketOf(stateDir))
	if err != nil {
		return nil, fmt.Errorf("observe the running agent: %w", err)
	}
	p := &proxied{conn, json.NewEncoder(conn), json.NewDecoder(conn)}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // it returns no error
	failed := p.Select(s)                                       // one that is refused may be closed already
	var answer accepted
	if err := p.decode.Decode(&answer); err != nil {
		return nil, errors.Join(fmt.Errorf("read the agent's answer: %w", err), failed, conn.Close())
	}
	if answer.Error != "" {
		return nil, errors.Join(fmt.Errorf("the agent answers: %s", answer.Error), conn.Close())
	}
	return p, nil
}

func (p *proxied) Close() error { return p.conn.Close() }

func (p *proxied) Select(s conntrack.Selection) error {
	if err := p.encode.Encode(s); err != nil {
		return fmt.Errorf("select connections: %w", err)
	}
	return nil
}

func (p *proxied) Follow(ctx context.Context, each func(observation.Flow), rest func(dropped uint32) error) error {
	defer context.AfterFunc(ctx, func() { _ = p.conn.SetReadDeadline(time.Unix(1, 0)) })() // fails only if it is closed
	for {
		var b batch
		err := p.decode.Decode(&b)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the agent has ended the observation: %w", err)
		}
		for _, f := range b.Flows {
			each(f)
		}
		if err := rest(b.Dropped); err != nil {
			return err
		}
	}
}
