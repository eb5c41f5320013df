// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var compareAddresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
var compareEndpoints = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func wanted() engine.Wanted {
	return engine.Wanted{Mode: v1alpha1.ModeNFTables, Rules: agenttest.NodeSpec(), Generation: 7, Digest: "00ff", Changes: 3,
		Unsettled: "why", NoIPv6: true, Desired: desiredtest.Mixed()}
}

// TestSocket checks that what is desired is the same at the other end of the socket, which only its
// owner can use, and that another agent can serve after one that was killed.
func TestSocket(t *testing.T) {
	folder := t.TempDir()
	if _, err := ask(t.Context(), folder); err == nil || !strings.Contains(err.Error(), "ask the running agent") {
		t.Errorf("no agent: error %v", err)
	}
	if err := os.WriteFile(socketOf(folder), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var refuse atomic.Bool
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, folder, func(context.Context) (engine.Wanted, error) {
			if refuse.Load() {
				return engine.Wanted{}, engine.ErrNoMode
			}
			return wanted(), nil
		}, nil)
	}()
	got, err := ask(t.Context(), folder)
	for err != nil { // until the socket is there: the test has a time-out
		got, err = ask(t.Context(), folder)
	}
	if diff := cmp.Diff(wanted(), got, compareAddresses, comparePrefixes, compareEndpoints); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if info, err := os.Stat(socketOf(folder)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, error %v", info.Mode(), err)
	}
	refuse.Store(true)
	if _, err := ask(t.Context(), folder); err == nil || !strings.Contains(err.Error(), "the agent answers: "+engine.ErrNoMode.Error()) {
		t.Errorf("no mode: error %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestTruncated checks that an answer that ends early is no answer.
func TestTruncated(t *testing.T) {
	var answer bytes.Buffer
	if err := write(&answer, wanted(), nil); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 10, answer.Len() - 10} {
		if _, err := read(bytes.NewReader(answer.Bytes()[:n])); err == nil {
			t.Errorf("no error after %d of %d bytes", n, answer.Len())
		}
	}
}

// looked is a mode whose kernel differs in one object for each look.
type looked struct {
	*fake.Dataplane
	objects [][]string
	looks   []dataplane.Look
	desired []model.Desired
}

func (l *looked) Inspect(_ context.Context, desired model.Desired, look dataplane.Look) (out dataplane.Inspection, err error) {
	for _, object := range l.objects[min(len(l.looks), len(l.objects)-1)] {
		name, service, _ := strings.Cut(object, " of ")
		if service == "" {
			out.Differ(name, inspection.Missing, "", "")
		} else {
			out.Differ(name, inspection.Missing, "", "", service)
		}
	}
	l.looks, l.desired = append(l.looks, look), append(l.desired, desired)
	return out, nil
}

// TestChanges checks that rules that the agent is about to program are no difference.
func TestChanges(t *testing.T) {
	for name, tc := range map[string]struct {
		objects [][]string
		changes []uint64 // by question
		service string
		want    []string
		looks   int
	}{
		"equal":                     {[][]string{nil}, []uint64{1, 2}, "", nil, 1},
		"different":                 {[][]string{{"b", "a"}}, []uint64{1, 1}, "", []string{"a", "b"}, 1},
		"a change, then equal":      {[][]string{{"a"}, nil}, []uint64{1, 2, 2}, "", nil, 2},
		"a change, then different":  {[][]string{{"a"}, {"b"}}, []uint64{1, 2, 2, 2}, "", []string{"b"}, 2},
		"changes all the time":      {[][]string{{"a", "d"}, {"b", "d"}, {"c", "d"}}, []uint64{1, 2, 3, 4, 5, 6}, "", []string{"d"}, 3},
		"of a Service and of all":   {[][]string{{"a of default/web", "b of default/other", "c"}}, []uint64{1, 1}, "default/web", []string{"a", "c"}, 1},
		"only of another Service":   {[][]string{{"b of default/other"}}, []uint64{1, 1}, "default/web", nil, 1},
		"of Services, all of them ": {[][]string{{"a of default/web"}}, []uint64{1, 1}, "", []string{"a"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			mode := &looked{Dataplane: fake.New(), objects: tc.objects}
			questions := 0
			report, err := inspect(t.Context(), Options{Node: "node-1", Filter: inspection.Filter{Service: tc.service}, Modes: modesOf(mode)},
				func() (engine.Wanted, error) {
					w := wanted()
					w.Changes = tc.changes[questions]
					questions++
					return w, nil
				})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range report.Differences {
				got = append(got, d.Object)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || len(mode.looks) != tc.looks {
				t.Errorf("%d looks, want %d; differences (-want +got):\n%s", len(mode.looks), tc.looks, diff)
			}
			report.Differences = nil
			if diff := cmp.Diff(inspection.Report{Version: inspection.Version, Node: "node-1", Mode: v1alpha1.ModeNFTables, Generation: 7, RulesDigest: "00ff", Unsettled: "why"}, report); diff != "" {
				t.Error(diff)
			}
			if !mode.looks[0].NoIPv6 {
				t.Error("the mode does not know that there is no IPv6")
			}
			for key := range mode.desired[0].Frontends {
				if key.Address.Is6() {
					t.Errorf("%s is desired without IPv6", key)
				}
			}
		})
	}
}

func modesOf(d dataplane.Dataplane) []dataplane.Mode {
	return []dataplane.Mode{{Name: v1alpha1.ModeNFTables, Open: func(dataplane.Env) (dataplane.Dataplane, error) { return d, nil }}}
}

func TestErrors(t *testing.T) {
	asked := func() (engine.Wanted, error) { return wanted(), nil }
	for name, tc := range map[string]struct {
		modes []dataplane.Mode
		ask   func() (engine.Wanted, error)
		want  string
	}{
		"no answer":       {nil, func() (engine.Wanted, error) { return engine.Wanted{}, errors.New("silent") }, "silent"},
		"an unknown mode": {nil, asked, "this program has no mode NFTables"},
		"a mode that cannot inspect": {modesOf(fake.New()), asked,
			"the kernel cannot be inspected in the mode NFTables"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := inspect(t.Context(), Options{Modes: tc.modes}, tc.ask); err == nil || err.Error() != tc.want {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
