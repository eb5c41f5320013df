// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localhost is what node ports on localhost need besides the rules of a mode:
// route_localnet, which package routelocalnet owns, and to say where it cannot be had.
package localhost

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Ports are a mode's node ports on localhost.
type Ports struct {
	user *routelocalnet.User

	allowed bool  // they were in force after the last program
	lacking error // why they are not in force
}

// New returns the node ports on localhost of a mode, with its way to guard the
// loopback. The owner is the node's; nil: there are no other users.
func New(g routelocalnet.Guard, s routelocalnet.Sysctls, owner *routelocalnet.Owner) *Ports {
	if owner == nil {
		owner = &routelocalnet.Owner{}
	}
	return &Ports{user: owner.User(g, s)}
}

// Lacking says why node ports do not answer on localhost though they shall; nil: they
// do.
func (p *Ports) Lacking() error { return p.lacking }

// With calls program when node ports can answer on localhost, if they shall, and
// cleans up after it if they shall not. If they cannot, it takes that out of the
// settings.
func (p *Ports) With(ctx context.Context, s *model.NodeSettings, program func() (dataplane.Result, error)) (dataplane.Result, error) {
	p.lacking = nil
	before, err := p.allow(ctx, s)
	if err != nil {
		return dataplane.Result{}, err
	}
	stats, err := program()
	if err != nil {
		return stats, err
	}
	stats.Operations += before
	if p.allowed && s.NodePortLocalhost {
		stats.Repaired += before // it was in force before
	}
	p.allowed = s.NodePortLocalhost
	if !s.NodePortLocalhost {
		after, err := p.forbid(ctx)
		if err != nil {
			return stats, err
		}
		stats.Operations += after
	}
	return stats, nil
}

// allow sets up the guard and the sysctl, and returns the number of operations. It
// is no error if the sysctl cannot be set.
func (p *Ports) allow(ctx context.Context, s *model.NodeSettings) (int, error) {
	if !s.NodePortLocalhost {
		return 0, nil
	}
	ops, err := p.user.Enable(ctx)
	if p.lacks(err) {
		s.NodePortLocalhost, err = false, nil
	}
	return ops, err
}

// forbid undoes what allow has done, once no rule needs it any more. It is no error
// if the sysctl cannot be set back.
func (p *Ports) forbid(ctx context.Context) (int, error) {
	ops, err := p.user.Disable(ctx)
	if p.lacks(err) {
		err = nil
	}
	return ops, err
}

// Cleanup removes the guard, and sets the sysctl back, or says why it cannot.
func (p *Ports) Cleanup(ctx context.Context) error {
	p.lacking, p.allowed = nil, false
	err := p.user.Cleanup(ctx)
	if p.lacks(err) {
		return p.lacking
	}
	return err
}

// Close forgets the mode, and leaves the kernel as it is.
func (p *Ports) Close() { p.user.Forget() }

// lacks says whether an error is that of the sysctl, and notes it.
func (p *Ports) lacks(err error) bool {
	if !errors.As(err, &routelocalnet.SysctlError{}) {
		return false
	}
	p.lacking = fmt.Errorf("node ports on localhost: %w: let the agent write the machine's /proc/sys/net (--sysctl-root), "+
		"or take Localhost out of nodePort.addresses", err)
	return true
}
