// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

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

// ElectLeader lets a manager work only while it holds the Lease in a namespace. The
// process must end when the manager does.
func ElectLeader(o *ctrl.Options, namespace string) {
	lease, renew, retry := leaseDuration, renewDeadline, retryPeriod
	o.LeaderElection = true
	o.LeaderElectionID = "fairlead-controller.proxy.fairlead.dev"
	o.LeaderElectionNamespace = namespace
	o.LeaderElectionReleaseOnCancel = true
	o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = &lease, &renew, &retry
}
