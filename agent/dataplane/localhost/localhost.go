// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localhost provides what node ports on localhost need besides the rules of a
// mode: the sysctl route_localnet, which package routelocalnet owns, and the error if it
// cannot be set.
package localhost

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Ports are a mode's node ports on localhost.
type Ports struct {
	user *routelocalnet.User

	allowed bool  // they were enabled after the last call of program
	err     error // why they are not programmed
}

// New returns the node ports on localhost of a mode, with its guard of the loopback. The
// owner is that of the node; nil: there are no other users.
func New(g routelocalnet.Guard, s sysctl.Parameters, owner *routelocalnet.Owner) *Ports {
	if owner == nil {
		owner = &routelocalnet.Owner{}
	}
	return &Ports{user: owner.User(g, s)}
}

// Err returns why node ports do not answer on localhost although they should; nil: they
// do.
func (p *Ports) Err() error { return p.err }

// With calls program once node ports can answer on localhost, if the settings ask for it,
// and cleans up afterwards if they do not. If they cannot answer, it removes localhost
// from the settings.
func (p *Ports) With(ctx context.Context, s *model.NodeSettings, program func() (dataplane.Result, error)) (dataplane.Result, error) {
	p.err = nil
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
		stats.Repaired += before // enabled before
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

// allow sets up the guard and the sysctl, and returns the number of operations. A sysctl
// that cannot be set is no error.
func (p *Ports) allow(ctx context.Context, s *model.NodeSettings) (int, error) {
	if !s.NodePortLocalhost {
		return 0, nil
	}
	ops, err := p.user.Enable(ctx)
	if p.isSysctl(err) {
		s.NodePortLocalhost, err = false, nil
	}
	return ops, err
}

// forbid undoes allow, once no rule needs it any more. A sysctl that cannot be set back is
// no error.
func (p *Ports) forbid(ctx context.Context) (int, error) {
	ops, err := p.user.Disable(ctx)
	if p.isSysctl(err) {
		err = nil
	}
	return ops, err
}

// Cleanup removes the guard and sets the sysctl back, or returns why it cannot.
func (p *Ports) Cleanup(ctx context.Context) error {
	p.err, p.allowed = nil, false
	err := p.user.Cleanup(ctx)
	if p.isSysctl(err) {
		return p.err
	}
	return err
}

// Close unregisters the mode, and leaves the kernel as it is.
func (p *Ports) Close() { p.user.Forget() }

// isSysctl says whether an error is about the sysctl, and records it in err.
func (p *Ports) isSysctl(err error) bool {
	if !errors.As(err, &routelocalnet.SysctlError{}) {
		return false
	}
	p.err = fmt.Errorf("node ports on localhost: %w: let the agent write the machine's /proc/sys/net (--sysctl-root), "+
		"or remove Localhost from nodePort.addresses", err)
	return true
}
