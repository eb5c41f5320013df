// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package routelocalnet owns the sysctl route_localnet of a node, and has the loopback
// guarded while it is 1.
//
// Packets that come from 127.0.0.1 have to leave the node, until they are masqueraded,
// and the answers to come in for it. The kernel does neither unless route_localnet
// is 1, which also lets other machines talk to what listens on the loopback
// (CVE-2020-8558). So there are rules that drop that, IPv4 only, whenever Fairlead has
// set the sysctl:
//
//	guard first, then the sysctl, then the rules of the user; and back the other way.
//
// The sysctl is that of all links. Each link that leads to an endpoint would need
// its own, and those to Pods come and go. The guard says what the sysctl was before:
// so the last user that goes sets it back, also in an agent that was started later;
// unless another program has removed the guard while no agent ran.
package routelocalnet

import (
	"context"
	"fmt"
	"sync"
)

const name = "net/ipv4/conf/all/route_localnet"

// Guard is a way to guard the loopback.
type Guard interface {
	// Read reads what the kernel holds of the guard.
	Read(ctx context.Context) (Held, error)

	// Make makes the guard, or replaces what is held of it, and returns the number
	// of operations. resets says whether the sysctl goes back to 0 with the guard.
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

// SysctlError is the error of a sysctl that cannot be read or written.
type SysctlError struct{ error }

// Unwrap returns the reason.
func (e SysctlError) Unwrap() error { return e.error }

// Owner knows all users of the sysctl on a node. The zero value has none.
type Owner struct {
	mu     sync.Mutex
	users  map[*User]struct{}
	resets bool // the last user sets the sysctl back to 0
}

// User is one that needs the sysctl from time to time. Users of one node with
// different guards follow each other, or are there together for a while.
type User struct {
	owner   *Owner
	guard   Guard
	sysctls Sysctls
	gone    bool // there is certainly no guard of this user
}

// User returns a user with its guard.
func (o *Owner) User(g Guard, s Sysctls) *User { return &User{owner: o, guard: g, sysctls: s} }

// Enable makes the guard be there and the sysctl be 1, and returns the number of
// operations. A SysctlError is about the sysctl: then that stays as it is.
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

// Disable removes the guard, once no rule of the user needs it any more, and returns
// the number of operations. The last user sets the sysctl back before. If that fails
// the error is a SysctlError, and the guard stays.
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

// Forget ends the user and leaves the kernel as it is: the guard says what is to be set
// back. Else the next user with the same guard would never be the last one.
func (u *User) Forget() {
	u.owner.mu.Lock()
	defer u.owner.mu.Unlock()
	delete(u.owner.users, u)
}

// Cleanup is Disable, also of a guard of which this user does not know.
func (u *User) Cleanup(ctx context.Context) error {
	u.gone = false
	_, err := u.Disable(ctx)
	return err
}
