// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trial

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// run has events happen to a node that knows no revision. It returns the state, the spec and the
// time at the end.
func run(t *testing.T, events ...event) (State, v1alpha1.NodeRuleSetSpec, time.Time) {
	t.Helper()
	var s State
	var spec v1alpha1.NodeRuleSetSpec
	now := start
	for _, e := range events {
		now = now.Add(e.after + e.clock)
		if e.restart {
			s = restart(t, s, now)
		}
		if e.spec != nil {
			spec = *e.spec
		}
		s = s.Next(spec, e.outcome, now)
	}
	return s, spec, now
}

// restart returns what the next agent knows.
func restart(t *testing.T, s State, now time.Time) State {
	t.Helper()
	text, err := json.Marshal(s.Kept())
	if err != nil {
		t.Fatal(err)
	}
	var out State
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out.Restored(now)
}

// with returns a changed spec.
func with(spec v1alpha1.NodeRuleSetSpec, change func(*v1alpha1.NodeRuleSetSpec)) *v1alpha1.NodeRuleSetSpec {
	change(&spec)
	return &spec
}

func TestNext(t *testing.T) {
	const sec = time.Second
	verified := []event{{spec: &first}, {outcome: good}}
	onTrial := append(verified[:2:2], event{spec: &second})
	reverted := append(onTrial[:3:3], event{after: time.Minute, outcome: refused})
	seconds := func(n int32) func(*v1alpha1.NodeRuleSetSpec) {
		return func(s *v1alpha1.NodeRuleSetSpec) { s.NodeDeadlineSeconds = &n }
	}
	unassigned := func(spec v1alpha1.NodeRuleSetSpec) *v1alpha1.NodeRuleSetSpec {
		return with(spec, func(s *v1alpha1.NodeRuleSetSpec) { s.AssignedTime = nil })
	}
	again := with(second, func(s *v1alpha1.NodeRuleSetSpec) { s.AssignedTime = at(9) })
	older := func(mode v1alpha1.ProxyMode) *v1alpha1.NodeRuleSetSpec {
		spec := asking("", mode, nil)
		return &spec
	}
	for name, tc := range map[string]struct {
		before []event
		then   []event
		phase  v1alpha1.RevisionPhase
		mode   v1alpha1.ProxyMode // that is to be programmed
		error  string
	}{
		"a first revision":                            {nil, []event{{spec: &first}}, "Pending", "NFTables", ""},
		"an outcome of what was before":               {nil, []event{{spec: &first, outcome: good}}, "Pending", "NFTables", ""},
		"nothing is done yet":                         {nil, []event{{spec: &first}, {}}, "Preparing", "NFTables", ""},
		"it is refused":                               {nil, []event{{spec: &first}, {outcome: refused}}, "Preparing", "NFTables", ""},
		"it is programmed":                            {nil, []event{{spec: &first}, {outcome: programmed}}, "Programmed", "NFTables", ""},
		"programmed, and refused again":               {nil, []event{{spec: &first}, {outcome: programmed}, {outcome: refused}}, "Programmed", "NFTables", ""},
		"not compared with the kernel":                {nil, []event{{spec: &first}, {outcome: unchecked}}, "Programmed", "NFTables", ""},
		"no answer of the apiserver":                  {nil, []event{{spec: &first}, {outcome: checked}}, "Programmed", "NFTables", ""},
		"programmed with an error":                    {nil, []event{{spec: &first}, {outcome: bothSides}}, "Programmed", "NFTables", ""},
		"verified":                                    {verified, nil, "Verified", "NFTables", ""},
		"verified at the last moment":                 {onTrial, []event{{after: time.Hour, outcome: good}}, "Verified", "IPVS", ""},
		"errors after that":                           {verified, []event{{after: time.Hour, outcome: refused}}, "Verified", "NFTables", ""},
		"nothing to return to":                        {nil, []event{{spec: &first}, {after: time.Minute, outcome: refused}}, "Failed", "NFTables", "the kernel says no"},
		"nothing to return to, and cut off":           {nil, []event{{spec: &first}, {after: time.Minute, outcome: cutOff}}, "Failed", "NFTables", "the apiserver has not answered since it is programmed"},
		"failed, and then verified":                   {nil, []event{{spec: &first}, {after: time.Hour, outcome: refused}, {outcome: good}}, "Verified", "NFTables", ""},
		"on trial":                                    {onTrial, []event{{outcome: good}}, "Verified", "IPVS", ""},
		"just before the deadline":                    {onTrial, []event{{after: time.Minute - 1, outcome: refused}}, "Preparing", "IPVS", ""},
		"refused until the deadline":                  {reverted, nil, "Reverted", "NFTables", "the kernel says no"},
		"refused, and nothing since":                  {onTrial, []event{{outcome: refused}, {after: time.Minute}}, "Reverted", "NFTables", "the kernel says no"},
		"nothing happens until the deadline":          {onTrial, []event{{after: time.Minute}}, "Reverted", "NFTables", "it is not programmed"},
		"not compared until the deadline":             {onTrial, []event{{after: time.Minute, outcome: unchecked}}, "Reverted", "NFTables", "the kernel was not compared with it since it is programmed"},
		"cut off until the deadline":                  {onTrial, []event{{after: time.Minute, outcome: cutOff}}, "Reverted", "NFTables", "the apiserver has not answered since it is programmed"},
		"an error that is gone":                       {onTrial, []event{{outcome: refused}, {outcome: programmed}, {after: time.Minute, outcome: cutOff}}, "Reverted", "NFTables", "the apiserver has not answered since it is programmed"},
		"another deadline":                            {verified, []event{{spec: with(second, seconds(5))}, {after: 5 * sec, outcome: refused}}, "Reverted", "NFTables", "the kernel says no"},
		"before another deadline":                     {verified, []event{{spec: with(second, seconds(300))}, {after: 299 * sec, outcome: refused}}, "Preparing", "IPVS", ""},
		"the deadline is changed before":              {onTrial, []event{{after: 30 * sec}, {spec: with(second, seconds(20))}}, "Reverted", "NFTables", "it is not programmed"},
		"it is not tried again":                       {reverted, []event{{after: time.Hour, outcome: good}}, "Reverted", "NFTables", "the kernel says no"},
		"not after a restart either":                  {reverted, []event{{after: time.Hour, restart: true}, {outcome: good}}, "Reverted", "NFTables", "the kernel says no"},
		"not for another fact":                        {reverted, []event{{spec: with(second, func(s *v1alpha1.NodeRuleSetSpec) { s.Node.Zone = "b" })}}, "Reverted", "NFTables", "the kernel says no"},
		"not for another policy of the same name":     {reverted, []event{{spec: with(second, func(s *v1alpha1.NodeRuleSetSpec) { s.Mode = "Userspace" })}}, "Reverted", "NFTables", "the kernel says no"},
		"it is given again":                           {reverted, []event{{spec: again}}, "Pending", "IPVS", ""},
		"it is given again, and verified":             {reverted, []event{{spec: again}, {outcome: good}}, "Verified", "IPVS", ""},
		"it is given again, and refused":              {reverted, []event{{spec: again}, {after: time.Minute, outcome: refused}}, "Reverted", "NFTables", "the kernel says no"},
		"another one after that":                      {reverted, []event{{spec: &third}, {after: time.Minute, outcome: refused}}, "Reverted", "NFTables", "the kernel says no"},
		"another one before the deadline":             {onTrial, []event{{after: 59 * sec}, {spec: &third}, {after: 59 * sec}}, "Preparing", "IPTables", ""},
		"back to the one that is verified":            {reverted, []event{{spec: with(first, func(s *v1alpha1.NodeRuleSetSpec) { s.AssignedTime = at(9) })}, {after: time.Hour, outcome: cutOff}}, "Failed", "NFTables", "the apiserver has not answered since it is programmed"},
		"the verified one is given again":             {verified, []event{{spec: with(first, func(s *v1alpha1.NodeRuleSetSpec) { s.AssignedTime = at(9) })}}, "Pending", "NFTables", ""},
		"a fact changes when verified":                {verified, []event{{spec: with(first, func(s *v1alpha1.NodeRuleSetSpec) { s.Node.Zone = "b" })}}, "Verified", "NFTables", ""},
		"a fact changes on trial":                     {onTrial, []event{{after: 59 * sec, spec: with(second, func(s *v1alpha1.NodeRuleSetSpec) { s.Node.Zone = "b" })}, {after: sec}}, "Reverted", "NFTables", "it is not programmed"},
		"without a time of assignment":                {verified, []event{{spec: unassigned(second)}, {after: time.Hour, outcome: refused}}, "Failed", "IPVS", "the kernel says no"},
		"of an older controller":                      {nil, []event{{spec: older("NFTables")}, {outcome: good}}, "Verified", "NFTables", ""},
		"another one of an older controller":          {nil, []event{{spec: older("NFTables")}, {outcome: good}, {spec: older("IPVS")}}, "Pending", "IPVS", ""},
		"the first one of a newer controller":         {nil, []event{{spec: older("NFTables")}, {outcome: good}, {spec: &second}, {after: time.Minute, outcome: refused}}, "Reverted", "NFTables", "the kernel says no"},
		"a restart on trial":                          {onTrial, []event{{after: 30 * sec, restart: true, outcome: programmed}}, "Programmed", "IPVS", ""},
		"a restart does not begin the deadline anew":  {onTrial, []event{{after: 30 * sec, restart: true}, {after: 30 * sec, outcome: refused}}, "Reverted", "NFTables", "the kernel says no"},
		"a restart after the deadline":                {onTrial, []event{{after: time.Minute, restart: true}}, "Reverted", "NFTables", "it is not programmed"},
		"a crash loop":                                {onTrial, []event{{after: 20 * sec, restart: true}, {after: 20 * sec, restart: true}, {after: 20 * sec, restart: true}}, "Reverted", "NFTables", "it is not programmed"},
		"a restart, and the clock was set back":       {onTrial, []event{{after: sec, restart: true, clock: -time.Hour}}, "Reverted", "NFTables", "it is not programmed"},
		"a restart, and another revision":             {onTrial, []event{{after: time.Hour, restart: true, spec: &third}}, "Pending", "IPTables", ""},
		"a restart when verified":                     {verified, []event{{after: time.Hour, restart: true}}, "Verified", "NFTables", ""},
		"a restart when failed":                       {nil, []event{{spec: &first}, {after: time.Minute, outcome: refused}, {restart: true}}, "Failed", "NFTables", "it is not programmed"},
		"a restart of the first one":                  {[]event{{spec: &second}}, []event{{restart: true}}, "Preparing", "IPVS", ""},
		"given the policy before under another name":  {verified, []event{{spec: with(first, func(s *v1alpha1.NodeRuleSetSpec) { s.Revision = "r-9" })}, {after: time.Hour, outcome: refused}}, "Failed", "NFTables", "the kernel says no"},
		"the generation of the ProxyConfig, on trial": {onTrial, []event{{after: time.Minute, spec: with(second, func(s *v1alpha1.NodeRuleSetSpec) { s.Policy.Generation = 7 })}}, "Reverted", "NFTables", "it is not programmed"},
	} {
		t.Run(name, func(t *testing.T) {
			s, spec, _ := run(t, append(tc.before[:len(tc.before):len(tc.before)], tc.then...)...)
			if rules := s.Rules(spec); s.Phase != tc.phase || rules.Mode != tc.mode {
				t.Errorf("%s, and %s is to be programmed; want %s and %s", s.Phase, rules.Mode, tc.phase, tc.mode)
			}
			if status := s.Status(); status == nil && spec.Revision != "" || status != nil &&
				(status.Name != spec.Revision || !status.AssignedTime.Equal(spec.AssignedTime) || status.Phase != tc.phase || status.LastError != tc.error) {
				t.Errorf("reports %+v, want the error %q", status, tc.error)
			}
		})
	}
}

// TestRevertedWithoutAPolicy reads a file that says that the node has returned to nothing.
func TestRevertedWithoutAPolicy(t *testing.T) {
	s, _, now := run(t, event{spec: &first}, event{outcome: good}, event{spec: &second}, event{after: time.Minute})
	s.Verified = nil
	s = restart(t, s, now)
	if s = s.Next(second, Outcome{}, now); s.Phase != v1alpha1.RevisionPending || s.Rules(second).Mode != second.Mode {
		t.Errorf("%+v", s)
	}
}

// TestVerifiedTime checks that it is the moment of the verification, to the second, also after
// a restart.
func TestVerifiedTime(t *testing.T) {
	s, _, now := run(t, event{spec: &first}, event{after: 1500 * time.Millisecond, outcome: good}, event{after: time.Hour, outcome: good})
	for range 2 {
		if got := s.Status().VerifiedTime; got == nil || !got.Time.Equal(start.Add(time.Second)) {
			t.Errorf("verified at %v", got)
		}
		s = restart(t, s, now)
	}
	if s = s.Next(second, Outcome{}, now); s.Status().VerifiedTime != nil {
		t.Errorf("another revision: verified at %v", s.Status().VerifiedTime)
	}
}

// TestRules returns to a policy: what is not of it is the newest.
func TestRules(t *testing.T) {
	newer := with(second, func(s *v1alpha1.NodeRuleSetSpec) {
		s.Node.Addresses, s.ServiceCIDRs = []string{"192.0.2.9"}, []string{"10.97.0.0/16"}
		s.MassRemoval.MaxPercent, s.DeletionPolicy = 7, v1alpha1.DeletionCleanup
		s.Policy.Generation, s.NodeDeadlineSeconds = 2, new(int32(60))
	})
	s, spec, _ := run(t, event{spec: &first}, event{outcome: good}, event{spec: newer}, event{after: time.Minute})
	want := *newer
	want.Policy, want.Revision, want.Mode = first.Policy, first.Revision, first.Mode
	if diff := cmp.Diff(want, s.Rules(spec)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestGenerationOfTheVerifiedPolicy changes what is not of the policy, and returns later.
func TestGenerationOfTheVerifiedPolicy(t *testing.T) {
	newer := with(first, func(s *v1alpha1.NodeRuleSetSpec) { s.Policy.Generation = 5 })
	s, spec, _ := run(t, event{spec: &first}, event{outcome: good}, event{spec: newer}, event{spec: &second}, event{after: time.Minute})
	if got := s.Rules(spec).Policy.Generation; s.Phase != v1alpha1.RevisionReverted || got != 5 {
		t.Errorf("%s to the generation %d", s.Phase, got)
	}
}

func TestDue(t *testing.T) {
	for name, tc := range map[string]struct {
		events []event
		want   time.Time
	}{
		"on trial":   {[]event{{spec: &first}}, start.Add(time.Minute)},
		"programmed": {[]event{{spec: &first}, {after: time.Second, outcome: programmed}}, start.Add(time.Minute)},
		"verified":   {[]event{{spec: &first}, {outcome: good}}, time.Time{}},
		"failed":     {[]event{{spec: &first}, {after: time.Minute}}, time.Time{}},
		"reverted":   {[]event{{spec: &first}, {outcome: good}, {spec: &second}, {after: time.Minute}}, time.Time{}},
		"nothing":    {nil, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			s, spec, _ := run(t, tc.events...)
			if got := s.Due(spec); !got.Equal(tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestStatusOfNone checks that a node without a revision reports none.
func TestStatusOfNone(t *testing.T) {
	for name, s := range map[string]State{
		"nothing":                {},
		"of an older controller": {Phase: v1alpha1.RevisionVerified},
		"nothing seen of it":     {Revision: "r-1"},
	} {
		if got := s.Status(); got != nil {
			t.Errorf("%s: reports %+v", name, got)
		}
	}
}

// TestRestored checks that a state from the disk begins anew with its deadline as it is, and that the
// clock may be set from then on.
func TestRestored(t *testing.T) {
	now := time.Now()
	since := now.Add(-time.Minute).Round(0) // as the disk has it: without the monotonic clock
	for name, c := range map[string]struct{ stored, want State }{
		"preparing": {State{Phase: v1alpha1.RevisionPreparing, LastError: "no"}, State{Phase: v1alpha1.RevisionPending}},
		"failed":    {State{Phase: v1alpha1.RevisionFailed, LastError: "no"}, State{Phase: v1alpha1.RevisionPending}},
		"reverted":  {State{Phase: v1alpha1.RevisionReverted, LastError: "no"}, State{Phase: v1alpha1.RevisionReverted, LastError: "no"}},
		"verified":  {State{Phase: v1alpha1.RevisionVerified}, State{Phase: v1alpha1.RevisionVerified}},
		"nothing":   {State{}, State{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.stored.Since = since
			got := c.stored.Restored(now)
			if !got.Since.Equal(since) || !strings.Contains(got.Since.String(), " m=") {
				t.Errorf("since %v, want %v by the monotonic clock", got.Since, since)
			}
			got.Since = time.Time{}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
