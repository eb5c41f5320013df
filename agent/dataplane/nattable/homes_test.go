// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

const homeKey, otherKey, thirdKey = "10.96.0.1:80/tcp", "192.0.2.7:80/tcp", "nodeport:30080/tcp"

// ofPort is a port with a cluster IP, an external address and a node port. If it is
// contested, another Service has the cluster IP.
func ofPort(contested bool) model.Desired {
	d := model.NewDesired()
	put(&d, homeKey, clusterIP("10.0.0.1:80", "10.0.0.2:80"))
	shared := homeKey
	if contested {
		put(&d, homeKey, clusterIP("10.9.9.9:80"))
		shared = ""
	}
	put(&d, otherKey, leadTo(model.MasqueradeAlways, "10.0.0.1:80", "10.0.0.2:80"))
	put(&d, thirdKey, leadTo(model.MasqueradeAlways, "10.0.0.1:80", "10.0.0.2:80"))
	stick(&d, homeKey, homeKey, 0)
	stick(&d, otherKey, shared, 0)
	stick(&d, thirdKey, shared, 0)
	return d
}

// elements lists the elements of a map.
func (s *space) elements(name string) []string {
	s.T.Helper()
	_, list, _ := strings.Cut(s.Run("nft", "list", "map", "ip", "fairlead", name), "elements = {")
	list, _, _ = strings.Cut(list, "}")
	var out []string
	for _, e := range strings.Split(list, ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}

// TestLeavingComesFirst checks that frontends leave a port's key, in a separate batch,
// before another Service has endpoints there; and that they join it in the main batch.
func TestLeavingComesFirst(t *testing.T) {
	for name, apply := range map[string]func(d testTables, from, to model.Desired) error{
		"Apply": func(d testTables, from, to model.Desired) error { return d.PlanDelta(model.Diff(from, to)) },
		"Sync after a restart": func(d testTables, _, to model.Desired) error {
			_, err := d.Plan(t.Context(), to)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			first, d := s.dataplane(), s.dataplane()
			shared, contested := ofPort(false), ofPort(true)
			mustSync(t, first, shared)
			if name == "Apply" {
				d = first
			}
			if err := apply(d, shared, contested); err != nil {
				t.Fatal(err)
			}
			batches := d.next.batches.inOrder()
			left := 1 + slices.Index(batches, d.next.batches[0].batch.Batch)
			if left == 0 || left == len(batches) {
				t.Fatalf("%d batches, leaving is the %d", len(batches), left)
			}
			if _, err := d.Client.CommitEach(t.Context(), batches[:left]); err != nil {
				t.Fatal(err)
			}
			endpoints := s.elements("endpoints")
			for _, want := range []string{"tcp . 10.96.0.1 . 80 . 0 : 10.0.0.1 . 80", "tcp . 192.0.2.7 . 80 . 1 : 10.0.0.2 . 80", "tcp . 0.0.0.0 . 30080 . 1 : 10.0.0.2 . 80"} {
				if !strings.Contains(strings.Join(endpoints, "\n"), want) {
					t.Errorf("after the first batch there is no %s in %v", want, endpoints)
				}
			}
			if services := s.elements("services"); !cmp.Equal(len(services), 2) {
				t.Errorf("services %v", services)
			}
			for _, e := range s.elements("ports") {
				if strings.HasPrefix(e, "tcp . 0.0.0.0") && !strings.Contains(e, ": tcp . 0.0.0.0 . 30080") {
					t.Errorf("the node port still leads elsewhere: %s", e)
				}
			}
			if _, err := d.Client.CommitEach(t.Context(), batches[left:]); err != nil {
				t.Fatal(err)
			}
			if got := mustSync(t, s.dataplane(), contested); got.Operations > 1 { // a chain without users
				t.Errorf("left to do: %+v", got)
			}
			last := s.dataplane()
			mustSync(t, last, contested)
			mustApply(t, last, model.Diff(contested, shared))
			if got := mustSync(t, s.dataplane(), shared); got.Operations != 0 {
				t.Errorf("back again: %+v", got)
			}
		})
	}
}

// TestPortsGoLater checks that a packet in transit that has missed the verdict of a
// frontend still finds it among the ports.
func TestPortsGoLater(t *testing.T) {
	s := newSpace(t)
	d, before, after := s.dataplane(), ofPort(false), ofPort(false)
	mustSync(t, d, before)
	for _, key := range []string{homeKey, otherKey, thirdKey} {
		put(&after, key, rejected)
		stick(&after, key, homeKey, 0)
	}
	if err := d.PlanDelta(model.Diff(before, after)); err != nil {
		t.Fatal(err)
	}
	batches := d.next.batches.inOrder()
	if len(batches) != 2 {
		t.Fatalf("%d batches", len(batches))
	}
	for i, want := range []int{2, 0} {
		if err := d.Client.Commit(t.Context(), batches[i]); err != nil {
			t.Fatal(err)
		}
		if ports := s.elements("ports"); len(ports) != want {
			t.Errorf("after batch %d: %v", i, ports)
		}
	}
}

// TestPortsDisagree checks that frontends of one port cannot lead to different lists.
func TestPortsDisagree(t *testing.T) {
	for name, change := range map[string]func(d *model.Desired){
		"endpoints": func(d *model.Desired) { put(d, otherKey, clusterIP("10.0.0.3:80")); stick(d, otherKey, homeKey, 0) },
		"timeout":   func(d *model.Desired) { stick(d, otherKey, homeKey, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			d, desired := newSpace(t).dataplane(), ofPort(false)
			change(&desired)
			if _, err := d.Sync(t.Context(), desired); err == nil || !strings.Contains(err.Error(), "same endpoints") {
				t.Error(err)
			}
		})
	}
}
