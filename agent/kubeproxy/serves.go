// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import corev1 "k8s.io/api/core/v1"

// Settled is how many looks in a row settle whether kube-proxy serves the node.
const Settled = 2

// Serves says whether kube-proxy serves the node in all of some families; without any, in one or both:
// in how many looks in a row it did, at most two, or, as a negative number, in how many it did not. 0: the
// Finder has not looked yet.
func (f *Finder) Serves(families ...corev1.IPFamily) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	least := f.serves[""]
	for _, family := range families {
		least = min(least, f.serves[family])
	}
	return least
}

// served says in which families kube-proxy serves the node.
type served struct{ ipv4, ipv6 bool }

// in says so of a family; empty: of any.
func (s served) in(family corev1.IPFamily) bool {
	switch family {
	case corev1.IPv4Protocol:
		return s.ipv4
	case corev1.IPv6Protocol:
		return s.ipv6
	}
	return s.ipv4 || s.ipv6
}

// looks counts looks for each family, and for any of them (empty), see Serves.
type looks map[corev1.IPFamily]int

// count counts a look, and says whether the first or a second one in a row says something else than
// those before.
func (l looks) count(s served) (changed bool) {
	for _, family := range []corev1.IPFamily{"", corev1.IPv4Protocol, corev1.IPv6Protocol} {
		before := l[family]
		switch {
		case s.in(family):
			l[family] = min(max(before, 0)+1, Settled)
		case before == 0:
			l[family] = -Settled // it never has
		default:
			l[family] = max(min(before, 0)-1, -Settled)
		}
		changed = changed || before != l[family] && before != 0
	}
	return changed
}

// begin forgets looks in which kube-proxy served the node.
func (l looks) begin() {
	for family, n := range l {
		l[family] = min(n, 0)
	}
}
