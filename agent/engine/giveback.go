// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/agent/kubeproxy"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// settled is how many looks in a row settle whether kube-proxy serves the node.
const settled = kubeproxy.Settled

// giveBack does what is to do on a node that has been given back to kube-proxy, or is to be now; false:
// it is to be programmed.
func (p *predecessor) giveBack(ctx context.Context, l *Loop, ch source.Changes) bool {
	wants := l.node.Spec.KubeProxy == v1alpha1.KubeProxyGiveBack && l.verify.isVerified()
	switch {
	case p.released && (!wants || p.isLost()):
		p.released, l.programmed = false, nil
		l.log.Info("Programs the node again: it is not to be given back to kube-proxy, or that does not serve it")
		source.Renew(l.store) // what came in the meantime, too
		return true
	case p.released:
	case !wants:
		return false
	case l.dp == nil && l.candidate == nil && len(l.installed.Others("")) == 0 && p.Serves() >= 0:
		p.released = true // by an agent before this one, unless the first look says otherwise
	case p.canRelease(l, ch):
		l.log.Info("Gives the node back to kube-proxy, which serves it")
		p.released = true
		l.deactivate()
	default:
		return false
	}
	p.release(ctx, l, ch)
	return true
}

// isLost says whether kube-proxy does not serve the node that was given back to it: in two looks, because
// it may only restart, or in one that finds not even its rules.
func (p *predecessor) isLost() bool {
	found := p.Found()
	return p.Serves() <= -settled || p.Serves() < 0 && found != nil && found.IsGone()
}

// isVerified says whether the revision of the node is verified, if it has one.
func (v *verification) isVerified() bool {
	phase := v.state.Phase
	return phase == "" || phase == v1alpha1.RevisionVerified
}

// await notes whether a node that is to be cleaned up keeps its rules in this step: kube-proxy is to have it.
func (p *predecessor) await(l *Loop) {
	spec, installed := l.newest.Spec, l.dp != nil || len(l.installed.Others("")) > 0
	p.awaited = spec.CleanUpSince != nil && spec.KubeProxy == v1alpha1.KubeProxyGiveBack && installed && !p.released
	if p.awaited {
		p.LookSoon(true) // looks of before do not count
		p.awaited = !p.canServe(l) || p.sharesAny(l)
	}
}

// canRelease says whether kube-proxy serves the node, and our rules were in order so far.
func (p *predecessor) canRelease(l *Loop, ch source.Changes) bool {
	if !ch.FromAPI || !p.canServe(l) || l.candidate != nil || l.dp == nil || l.programmed == nil ||
		l.programmed.Node != l.node || l.problems[report.KernelError] != nil {
		return false
	}
	return !p.sharesAny(l)
}

// canServe says whether kube-proxy serves the node in each family in which the node now forwards.
func (p *predecessor) canServe(l *Loop) bool {
	if p.Serves() < settled {
		return false
	}
	families := l.table.Forwarding()
	if slices.ContainsFunc(l.limitations, func(has dataplane.Limitation) bool { return has.Reason == dataplane.ReasonIPv6 }) {
		families = slices.DeleteFunc(families, func(f corev1.IPFamily) bool { return f == corev1.IPv6Protocol })
	}
	return p.Serves(families...) >= settled
}

// sharesAny says whether something of ours may be that of a kube-proxy that runs: virtual servers of IPVS
// look like those of a kube-proxy in its mode ipvs. They stay.
func (p *predecessor) sharesAny(l *Loop) bool {
	return slices.ContainsFunc(l.installed.Others(""), func(mode v1alpha1.ProxyMode) bool { return p.shares(l.modes.byName(mode)) })
}

// release removes what this node was programmed with in any mode. Open connections are not waited for:
// connection tracking translates their packets. Parameters of the kernel stay: kube-proxy has its own use
// for them.
func (p *predecessor) release(ctx context.Context, l *Loop, ch source.Changes) {
	l.retry = 0
	p.Want(nil)
	keep := p.keepRouteLocalnet(l.modes.env.Sysctls)
	err := errors.Join(removeAll(ctx, l), keep())
	if ctx.Err() != nil {
		return // what was interrupted is no failure
	}
	holdsNothing(l, err)
	l.verify.shown = l.verify.state
	if p.Serves() != 0 {
		l.programmed = &report.Programmed{Node: l.node, Time: l.clock.Now()}
	}
	out := l.snapshot(ch, report.Step{Queued: ch.Since})
	p.follow(l, out)
	l.report(out)
}

const routeLocalnet = "net/ipv4/conf/all/route_localnet"

// keepRouteLocalnet returns what undoes that a mode of ours sets route_localnet back, which a kube-proxy
// in its mode iptables sets when it starts, and needs for node ports on localhost.
func (p *predecessor) keepRouteLocalnet(sysctls sysctl.Parameters) (keep func() error) {
	found := p.Found()
	if found == nil || found.Mode != v1alpha1.KubeProxyIPTables {
		return func() error { return nil }
	}
	before, err := sysctls.Get(routeLocalnet)
	return func() error {
		if err != nil || before != "1" {
			return err
		}
		return sysctls.Set(routeLocalnet, before)
	}
}
