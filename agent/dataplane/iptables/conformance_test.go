// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
)

func TestConformanceNFT(t *testing.T) { conformance.Run(t, subject(variantNFT, 2000, "")) }

func TestConformanceLegacy(t *testing.T) {
	s := subject(variantLegacy, 5000, "the kernel does not notify of it")
	s.OneAtATime = "the lock of xtables"
	conformance.Run(t, s)
}

func subject(variant string, many int, unnoticed string) conformance.Subject {
	do := func(args string) conformance.Damage {
		return conformance.Damage{Command: "iptables-" + variant + " -w 5 -t " + args, Unnoticed: unnoticed}
	}
	both := func(first, then string) conformance.Damage {
		a, b := do(first), do(then)
		return conformance.Damage{Command: a.Command + "; " + b.Command, Unnoticed: unnoticed}
	}
	guard := do("mangle -F " + chainGuardIn)
	guard.Uninspected = "it is for node ports on localhost"
	some := "$(iptables-" + variant + "-save -t nat | grep -o -m 1 ':" + prefixTo + "[0-9A-Z]*' | tr -d :)" // endpoints of a port
	return conformance.Subject{
		Mode: func() dataplane.Mode { return Mode(&routelocalnet.Owner{}) },
		Prepare: func(n *conformance.Node) {
			n.Run("iptables-"+variant, "-w", "5", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
		},
		Many:       many,
		ManyReason: "to make 10,000 takes the programs half a minute (nft) or some seconds",

		OneEndpoint: 5,
		OneService:  40,
		Limits:      map[dataplane.Reason][]string{reasonAffinity: nil}, // of the module as it is loaded by default
		Damages: map[string]conformance.Damage{
			"a chain is emptied":       do("nat -F " + some),
			"a rule is added":          do("nat -A " + some + " -j RETURN"),
			"a jump is deleted":        do("nat -D PREROUTING -j " + chainPrerouting),
			"a jump is there twice":    do("nat -A PREROUTING -j " + chainPrerouting),
			"the nat table is flushed": both("nat -F", "nat -X"),
			"the guard is emptied":     guard,
		},
	}
}

func BenchmarkLook(b *testing.B) {
	for _, variant := range []string{variantNFT, variantLegacy} {
		b.Run(variant, func(b *testing.B) { conformance.BenchmarkLook(b, subject(variant, 2000, "")) })
	}
}
