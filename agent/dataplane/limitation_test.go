// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func keyOf(i int) model.FrontendKey {
	return model.FrontendKey{Address: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), Protocol: model.TCP, Port: 80}
}

func serviceOf(i int) model.ServiceID {
	return model.ServiceID{Namespace: "default", Name: fmt.Sprint("s", i/2), Family: "IPv4"}
}

// One limitation of each reason, sorted, with what is named and the count of all.
func TestLimitations(t *testing.T) {
	var l LeftOut
	l.Node("Node", errors.New("not here"))
	l.Add("SCTP", "no SCTP", keyOf(2), serviceOf(2))
	l.Add("SCTP", "no SCTP", keyOf(1), serviceOf(1))
	l.Add("SCTP", "no SCTP", keyOf(3), serviceOf(3))
	l.Add("Affinity", "clamped", keyOf(3), serviceOf(3))
	want := []Limitation{
		{Reason: "Affinity", Message: "clamped", Frontends: []model.FrontendKey{keyOf(3)}, Services: []model.ServiceID{serviceOf(3)}, Count: 1},
		{Reason: "Node", Message: "not here"},
		{Reason: "SCTP", Message: "no SCTP", Frontends: []model.FrontendKey{keyOf(1), keyOf(2), keyOf(3)},
			Services: []model.ServiceID{serviceOf(1), serviceOf(2)}, Count: 3},
	}
	if diff := cmp.Diff(want, l.Limitations(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("limitations (-want +got):\n%s", diff)
	}
	l.Node("Node", nil)
	l.Forget(keyOf(3))
	l.Remove("SCTP", keyOf(1))
	l.Clear("SCTP")
	if got := l.Limitations(); got != nil {
		t.Errorf("left: %v", got)
	}
}

// However frontends come and go, the first of those that are left out are named, so that
// the status does not change with each Sync.
func TestNamedFrontends(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var l LeftOut
	held := map[model.FrontendKey]bool{}
	for range 10_000 {
		key := keyOf(random.IntN(20))
		if held[key] = !held[key]; held[key] {
			l.Add("SCTP", "no SCTP", key, serviceOf(0))
		} else {
			delete(held, key)
			l.Forget(key)
		}
		got := l.Limitations()
		if len(held) == 0 {
			if got != nil {
				t.Fatalf("left: %v", got)
			}
			continue
		}
		if len(got) != 1 || got[0].Count != len(held) || len(got[0].Frontends) != min(MaxNamed, len(held)) {
			t.Fatalf("%d held, limitations %v", len(held), got)
		}
		first := slices.SortedFunc(maps.Keys(held), model.FrontendKey.Compare)[:len(got[0].Frontends)]
		if !slices.Equal(got[0].Frontends, first) {
			t.Fatalf("named %v, want %v", got[0].Frontends, first)
		}
	}
}
