// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
)

// The times of the leader's Lease, as those of kube-controller-manager. A leader that
// cannot renew it for renewDeadline ends, and then no change of a Service reaches the nodes
// until another replica leads; so an apiserver that hangs for some seconds must not end
// it. A replica that is stopped in order releases the Lease: another one leads some seconds
// later.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leaseName is the name of the Lease.
const leaseName = "fairlead-controller.proxy.fairlead.dev"

// ElectLeader lets a manager work only while it holds the Lease in a namespace. The
// process must end when the manager does. end ends the manager, with ErrLeaseTaken, if another
// replica holds the Lease of a leader.
func ElectLeader(o *ctrl.Options, cfg *rest.Config, namespace string, end context.CancelCauseFunc) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("get the name of the host, for the Lease: %w", err)
	}
	identity := resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, leaseName, identity, cfg, renewDeadline)
	if err != nil {
		return fmt.Errorf("make the client of the Lease: %w", err)
	}
	duration, renew, retry := leaseDuration, renewDeadline, retryPeriod
	o.LeaderElection = true
	o.LeaderElectionID = leaseName
	o.LeaderElectionNamespace = namespace
	o.LeaderElectionResourceLockInterface = &lease{Interface: lock, end: end}
	o.LeaderElectionReleaseOnCancel = true
	o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = &duration, &renew, &retry
	return nil
}

// ErrLeaseTaken says that another replica holds the Lease of a leader.
var ErrLeaseTaken = errors.New("another replica holds the Lease of this leader")

// errNotRenewed says that the Lease may be another replica's by now.
var errNotRenewed = errors.New("the Lease was not renewed in time")

// lease is a replica's view of the Lease, which ends a leader earlier than client-go does:
//   - client-go releases a Lease that it could not renew as well, and the leader works until that
//     has failed, too: 22 s after the last renewal, when another one leads already. So the leader
//     makes no request any more once it must end;
//   - a Lease can become another replica's at once, when it is deleted or etcd is restored from a
//     backup. client-go then tries to renew it for renewDeadline, and the leader works on.
type lease struct {
	resourcelock.Interface
	end context.CancelCauseFunc

	mu      sync.Mutex
	renewed time.Time // zero: this replica does not lead
}

// Get implements resourcelock.Interface.
func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if err := l.lost(); err != nil {
		return nil, nil, err
	}
	r, raw, err := l.Interface.Get(ctx)
	if err == nil && r.HolderIdentity != "" && r.HolderIdentity != l.Identity() && l.leads() {
		l.end(ErrLeaseTaken)
	}
	return r, raw, err
}

// Create implements resourcelock.Interface.
func (l *lease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(r, l.Interface.Create(ctx, r))
}

// Update implements resourcelock.Interface.
func (l *lease) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	if err := l.lost(); err != nil {
		return err
	}
	return l.note(r, l.Interface.Update(ctx, r))
}

func (l *lease) leads() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.renewed.IsZero()
}

// lost returns an error after the time in which client-go tries to renew the Lease.
func (l *lease) lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.renewed.IsZero() && time.Since(l.renewed) >= retryPeriod+renewDeadline {
		return errNotRenewed
	}
	return nil
}

// note notes a successful write.
func (l *lease) note(r resourcelock.LeaderElectionRecord, err error) error {
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewed = time.Now(); r.HolderIdentity != l.Identity() {
		l.renewed = time.Time{} // released
	}
	return nil
}
