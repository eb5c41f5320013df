// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// rules returns a virtual server with its real servers as `ipvsadm -Sn` does.
func (v *virtualServer) rules(reals []realServer) []string {
	out := []string{"-A " + v.key.option() + " " + v.server.String()}
	for _, r := range slices.SortedFunc(slices.Values(reals), func(a, b realServer) int { return a.endpoint.Compare(b.endpoint) }) {
		out = append(out, fmt.Sprintf("-a %s -r %s -m -w %d", v.key.option(), r.endpoint, r.weight))
	}
	return out
}

// option names a virtual server.
func (k serverKey) option() string {
	switch {
	case k.mark != 0 && k.family == corev1.IPv6Protocol:
		return fmt.Sprintf("-f %d -6", k.mark)
	case k.mark != 0:
		return fmt.Sprintf("-f %d", k.mark)
	}
	at := fmt.Sprintf("%s:%d", k.Address, k.Port)
	if k.Address.Is6() {
		at = fmt.Sprintf("[%s]:%d", k.Address, k.Port)
	}
	return map[model.Protocol]string{model.TCP: "-t ", model.UDP: "-u ", model.SCTP: "--sctp-service "}[k.Protocol] + at
}

// String returns the options of ipvsadm.
func (s server) String() string {
	out := "-s " + s.scheduler
	if s.persistence > 0 {
		out += fmt.Sprint(" -p ", s.persistence)
	}
	var flags []string
	for i, bit := range []uint32{flagScheduler1, flagScheduler2, flagScheduler3} {
		if s.flags&bit != 0 {
			flags = append(flags, s.flagName(i))
		}
	}
	if len(flags) > 0 {
		out += " -b " + strings.Join(flags, ",")
	}
	return out
}

// flagName names a flag of the scheduler.
func (s server) flagName(i int) string {
	if i < 2 && (s.scheduler == schedulerSH || s.scheduler == schedulerMH) {
		return s.scheduler + [...]string{"-fallback", "-port"}[i]
	}
	return fmt.Sprint("flag-", i+1)
}
