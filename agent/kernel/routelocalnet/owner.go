// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package routelocalnet owns the sysctl route_localnet of a node, and guards the loopback
// while it is 1.
//
// Packets from 127.0.0.1 have to leave the node until they are masqueraded, and replies to
// it have to come in. The kernel allows neither unless route_localnet is 1, which also
// lets other machines reach sockets on the loopback (CVE-2020-8558). So whenever Fairlead
// has set the sysctl there are rules that drop such packets (IPv4 only):
//
//	guard first, then the sysctl, then the rules of the user; and back the other way.
//
// The sysctl is that of all links. Otherwise each link to an endpoint would need its own,
// and links to Pods are added and removed all the time. The guard records what the sysctl
// was before. So the last user sets it back, even in an agent that was started later,
// unless another program removed the guard while no agent was running.
package routelocalnet

import (
	"context"
	"fmt"
	"sync"

	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

const name = "net/ipv4/conf/all/route_localnet"

// Guard guards the loopback with rules.
type Guard interface {
	// Read reads the guard in the kernel.
	Read(ctx context.Context) (Held, error)

	// Make adds the guard, or replaces the held one, and returns the number of operations.
	// resets says whether the sysctl is set back to 0 when the guard is removed.
	Make(ctx context.Context, held Held, resets bool) (int, error)

	// Remove removes the held guard.
	Remove(ctx context.Context, held Held) error
}

// Held is the state of a guard in the kernel.
type Held struct {
	Exists, Intact bool
	Resets         bool // the sysctl is set back to 0 with the guard
}

// SysctlError is the error of a sysctl that cannot be read or written.
type SysctlError struct{ error }

// Unwrap returns the cause.
func (e SysctlError) Unwrap() error { return e.error }

// Owner knows all users of the sysctl on a node. The zero value has none.
type Owner struct {
	mu     sync.Mutex
	users  map[*User]struct{}
	resets bool // the last user sets the sysctl back to 0
}

// User needs the sysctl from time to time. Users of one node with different guards replace
// each other, or exist together for a while.
type User struct {
	owner   *Owner
	guard   Guard
	sysctls sysctl.Parameters
	gone    bool // this user is known to have no guard
}

// User returns a user with its guard.
func (o *Owner) User(g Guard, s sysctl.Parameters) *User {
	return &User{owner: o, guard: g, sysctls: s}
}

// Enable adds the guard and sets the sysctl to 1, and returns the number of operations.
// After a SysctlError the sysctl is unchanged.
func (u *User) Enable(ctx context.Context) (ops int, err error) {
	o := u.owner
	o.mu.Lock()
	defer o.mu.Unlock()
	value, err := u.sysctls.Get(name)
	if err == nil && value != "1" {
		err = u.sysctls.Set(name, value) // is it writable?
	}
	if err != nil {
		return 0, SysctlError{err}
	}
	held, err := u.guard.Read(ctx)
	if err != nil {
		return 0, err
	}
	if o.users == nil {
		o.users = map[*User]struct{}{}
	}
	o.users[u], u.gone = struct{}{}, false
	o.resets = o.resets || held.Resets || value != "1"
	if !held.Intact || held.Resets != o.resets {
		if ops, err = u.guard.Make(ctx, held, o.resets); err != nil {
			return 0, fmt.Errorf("guard the loopback: %w", err)
		}
	}
	if value == "1" {
		return ops, nil
	}
	if err := u.sysctls.Set(name, "1"); err != nil {
		return ops, SysctlError{err}
	}
	return ops + 1, nil
}

// Disable removes the guard, once no rule of the user needs it any more, and returns the
// number of operations. The last user sets the sysctl back first. If that fails the error
// is a SysctlError, and the guard stays.
func (u *User) Disable(ctx context.Context) (ops int, err error) {
	if u.gone {
		return 0, nil
	}
	o := u.owner
	o.mu.Lock()
	defer o.mu.Unlock()
	held, err := u.guard.Read(ctx)
	if err != nil {
		return 0, err
	}
	o.resets = o.resets || held.Resets
	_, uses := o.users[u]
	if last := len(o.users) == 0 || uses && len(o.users) == 1; last && o.resets {
		if ops, err = u.reset(); err != nil {
			return 0, SysctlError{err}
		}
		o.resets = false
	}
	delete(o.users, u)
	if held.Exists {
		if err := u.guard.Remove(ctx, held); err != nil {
			return ops, err
		}
		ops++
	}
	u.gone = true
	return ops, nil
}

func (u *User) reset() (ops int, err error) {
	value, err := u.sysctls.Get(name)
	if err != nil || value == "0" {
		return 0, err
	}
	return 1, u.sysctls.Set(name, "0")
}

// Forget unregisters the user and leaves the kernel as it is: the guard records what is to
// be set back. Otherwise the next user with the same guard would never be the last one.
func (u *User) Forget() {
	u.owner.mu.Lock()
	defer u.owner.mu.Unlock()
	delete(u.owner.users, u)
}

// Cleanup is Disable, and also removes a guard that this user did not add itself.
func (u *User) Cleanup(ctx context.Context) error {
	u.gone = false
	_, err := u.Disable(ctx)
	return err
}
