// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// KubeProxy is kube-proxy on the node. None of its methods waits for the kernel.
type KubeProxy interface {
	// Found returns what was found of it; nil: it was not looked for yet.
	Found() *v1alpha1.KubeProxyStatus

	// Serves says in how many looks in a row kube-proxy served the node in all of some families, or, without
	// any, in one or both, at most two; negative: in how many it did not. 0: it was not looked for yet.
	Serves(...corev1.IPFamily) int

	// LookSoon says whether the node is on its way from kube-proxy to the agent, or back. When that
	// begins, looks in which kube-proxy served the node do not count any more.
	LookSoon(bool)

	// Want says that the rules that were found are to be removed; nil: none are.
	Want(found *v1alpha1.KubeProxyStatus)
}

// predecessor is the kube-proxy that our rules replace, or that replaces them.
type predecessor struct {
	KubeProxy
	released bool // kube-proxy serves the node, and our rules are gone
	awaited  bool // in this step: the node is to be cleaned up, once kube-proxy serves it

	inherited *v1alpha1.KubeProxyStatus // what the active mode has inherited, or does so in the next Sync; nil: nothing
}

// follow has the rules of kube-proxy removed that ours have replaced. What else a mode of
// kube-proxy leaves is removed like what a previous mode of ours has left, which waits for its
// connections: it is noted before the rules go. What the active mode recognizes as its own, it has
// inherited by then: without the rules, nothing shows an agent after this one whose it is.
func (p *predecessor) follow(l *Loop, s report.Snapshot) {
	p.LookSoon(s.Changes() || p.released && p.Serves() < 0)
	if !s.Replaced() {
		p.inherited = nil
		p.Want(nil)
		return
	}
	for _, mode := range l.modes.list {
		if mode.Inherits == "" || mode.Inherits != s.KubeProxy.Mode {
			continue
		}
		if err := l.installed.Add(mode.Name); err != nil {
			l.problems[report.PreviousModeCleanup] = err
			p.Want(nil)
			return
		}
	}
	if p.inherit(l, s.KubeProxy) {
		p.Want(nil)
		return
	}
	p.Want(s.KubeProxy)
}

// inherit has the active mode inherit what was found, by a Sync in the next step; false: there is nothing to inherit, or
// that is done.
func (p *predecessor) inherit(l *Loop, found *v1alpha1.KubeProxyStatus) bool {
	if p.inherited == found || l.dp.mode.Inherits == "" || l.dp.mode.Inherits != found.Mode {
		return false
	}
	heir, ok := l.dp.Dataplane.(dataplane.Heir)
	if !ok {
		return false
	}
	heir.Inherit()
	p.inherited, l.needSync = found, true
	l.stepAfter(0)
	return true
}

// shares says whether what a mode has left may be that of a kube-proxy that runs.
func (p *predecessor) shares(mode *dataplane.Mode) bool {
	found := p.Found()
	return found != nil && found.Running && mode != nil && mode.Inherits != "" && mode.Inherits == found.Mode
}
