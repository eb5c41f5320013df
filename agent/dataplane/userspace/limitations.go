// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// bindInterval is how often binding a port that another process uses is tried again.
const bindInterval = 5 * time.Second

// Reasons why something is not programmed as desired.
const (
	reasonFiles    dataplane.Reason = "OpenFiles"
	reasonShare    dataplane.Reason = "OpenFilesShare"
	reasonReserved dataplane.Reason = "ReservedPort"
	reasonSCTP     dataplane.Reason = "SCTP"
	reasonSocket   dataplane.Reason = "Socket"
	reasonSources  dataplane.Reason = "ClientAddress"
)

// note reports what a frontend asks for that this mode does not support. Endpoints of a
// cluster IP do not see the address of the client Pod; this is not reported, because
// nothing asks for it. The external traffic policy Local does ask for it.
func (d *Dataplane) note(f *model.Frontend) {
	d.leftOut.Forget(f.Key)
	switch {
	case f.Key.Protocol == model.SCTP:
		d.leftOut.Add(reasonSCTP, "SCTP frontends: this mode supports TCP and UDP only", f.Key, f.Service)
	case f.Kind != model.KindClusterIP && f.External.Verdict == model.Forward && f.External.Masquerade == model.MasqueradeNever:
		d.leftOut.Add(reasonSources, "endpoints see the node's address and not the client's at frontends with policy Local: "+
			"this mode opens the connections to endpoints itself", f.Key, f.Service)
	}
}

// report adds to a result what is not programmed, and when to try it again.
func (d *Dataplane) report(r *dataplane.Result) {
	full := d.reportRefusals()
	r.Unsupported = d.leftOut.Limitations()
	if full || d.leftOut.Count(reasonSocket) > 0 {
		r.NextLook = max(1, bindInterval-d.clock.Since(d.synced))
	}
}

// refusals are the reasons of refused connections, as limitations.
var refusals = []struct {
	why    error
	reason dataplane.Reason
	report error
}{
	{errFull, reasonFiles, errFull},
	{errSource, reasonShare, errShare},
	{errService, reasonShare, errShare},
}

// reportRefusals reports connections that were refused in the last minute, and says
// whether there are any. The status does not name clients, the log does.
func (d *Dataplane) reportRefusals() (any bool) {
	d.leftOut.Node(reasonFiles, nil)
	d.leftOut.Node(reasonShare, nil)
	for _, r := range refusals {
		last, refused := d.proxy.open.refusedFor(r.why)
		if refused && !d.refuses[r.why] {
			d.log.Info("Refused a connection", "reason", r.why.Error(), "client", last.holder.source,
				"namespace", last.holder.service.Namespace, "service", last.holder.service.Name)
		}
		if d.refuses[r.why] = refused; refused {
			any = true
			d.leftOut.Node(r.reason, r.report)
		}
	}
	return any
}

func sorted(addresses iter.Seq[netip.Addr]) []netip.Addr {
	return slices.SortedFunc(addresses, netip.Addr.Compare)
}
