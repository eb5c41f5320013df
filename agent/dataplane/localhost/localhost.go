// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localhost keeps what the modes of netfilter need for node ports on
// localhost.
//
// Packets that come from 127.0.0.1 have to leave the node, until they are masqueraded,
// and the answers to come in for it. The kernel does neither unless route_localnet
// is 1, which also lets everybody else talk to what listens on the loopback
// (CVE-2020-8558). So each mode has rules of its own that take care of that, IPv4
// only, and they are there whenever we have set the sysctl:
//
//	guard first, then the sysctl, then the rules; and back the other way.
//
// The sysctl is that of all links. Each link that leads to an endpoint would need
// its own, and those to Pods come and go. The guard says what the sysctl was before.
// So it is set back by whoever removes the guard, also an agent that was started
// later; unless somebody else has removed the guard while no agent ran.
package localhost

import (
	"context"
	"fmt"
	"sync"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const routeLocalnet = "net/ipv4/conf/all/route_localnet"

// Guard is how a mode guards the loopback.
type Guard interface {
	// Read reads what the kernel holds of the guard.
	Read(ctx context.Context) (Held, error)

	// Make makes the guard, or replaces what is held of it, and returns the number
	// of operations.
	Make(ctx context.Context, held Held, resets bool) (int, error)

	// Remove removes what is held of it.
	Remove(ctx context.Context, held Held) error
}

// Held is what the kernel holds of a guard.
type Held struct {
	Exists, Intact bool
	Resets         bool // the sysctl goes back to 0 with the guard
}

// Sysctls reads and writes parameters of the kernel, such as sysctl.Tree.
type Sysctls interface {
	Get(name string) (string, error)
	Set(name, value string) error
}

// Users are the modes of a node that need the sysctl. When the mode changes, the old
// one leaves while the new one stays; then that has to set the sysctl back.
type Users struct {
	mu    sync.Mutex
	users map[*Ports]struct{}
	owed  bool // the sysctl was 0 before the first of them came
}

// enter notes a user, and says whether it is the one to set the sysctl back.
func (u *Users) enter(p *Ports) (resets bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users == nil {
		u.users = map[*Ports]struct{}{}
	}
	u.users[p] = struct{}{}
	return u.owed
}

// leave forgets a user, which had to set the sysctl back or not, and says whether it
// has to do so now.
func (u *Users) leave(p *Ports, resets bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.users, p)
	resets = resets || u.owed
	u.owed = resets && len(u.users) > 0
	return resets && len(u.users) == 0
}

// Ports are a mode's node ports on localhost.
type Ports struct {
	guard   Guard
	sysctls Sysctls
	users   *Users

	allowed bool  // they were in force after the last program
	noGuard bool  // there is certainly no guard
	lacking error // why they are not in force
}

// New returns the node ports on localhost of a mode. The users are those of the node;
// nil: there are no others.
func New(g Guard, s Sysctls, users *Users) *Ports {
	if users == nil {
		users = &Users{}
	}
	return &Ports{guard: g, sysctls: s, users: users}
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
	value, err := p.sysctls.Get(routeLocalnet)
	if err == nil && value != "1" {
		err = p.sysctls.Set(routeLocalnet, value) // is it writable?
	}
	if err != nil {
		s.NodePortLocalhost = false
		p.lack(err)
		return 0, nil
	}
	held, err := p.guard.Read(ctx)
	if err != nil {
		return 0, err
	}
	owed := p.users.enter(p)
	resets, ops := held.Resets || value != "1" || owed, 0
	if !held.Intact || held.Resets != resets {
		if ops, err = p.guard.Make(ctx, held, resets); err != nil {
			return 0, fmt.Errorf("guarding the loopback: %w", err)
		}
		p.noGuard = false
	}
	if value == "1" {
		return ops, nil
	}
	if err := p.sysctls.Set(routeLocalnet, "1"); err != nil {
		s.NodePortLocalhost = false
		p.lack(err)
		return ops, nil
	}
	return ops + 1, nil
}

// forbid undoes what allow has done, once no rule needs it any more. If the sysctl
// cannot be set back, the guard stays.
func (p *Ports) forbid(ctx context.Context) (int, error) {
	if p.noGuard {
		return 0, nil
	}
	held, err := p.guard.Read(ctx)
	if err != nil {
		return 0, err
	}
	ops := 0
	if p.users.leave(p, held.Resets) {
		value, err := p.sysctls.Get(routeLocalnet)
		if err == nil && value != "0" {
			err = p.sysctls.Set(routeLocalnet, "0")
			ops++
		}
		if err != nil {
			p.lack(err)
			return 0, nil
		}
	}
	if held.Exists {
		if err := p.guard.Remove(ctx, held); err != nil {
			return ops, err
		}
		ops++
	}
	p.noGuard = true
	return ops, nil
}

// Cleanup removes the guard, and sets the sysctl back, or says why it cannot.
func (p *Ports) Cleanup(ctx context.Context) error {
	p.lacking, p.noGuard, p.allowed = nil, false, false
	if _, err := p.forbid(ctx); err != nil {
		return err
	}
	return p.lacking
}

func (p *Ports) lack(err error) {
	p.lacking = fmt.Errorf("node ports on localhost: %w: let the agent write the machine's /proc/sys/net (--sysctl-root), "+
		"or take Localhost out of nodePort.addresses", err)
}
