// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trial

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestProperties has random things happen to a node: revisions that are given, given again and
// taken back, outcomes, restarts, and clocks that are set.
func TestProperties(t *testing.T) {
	for seed := range uint64(500) {
		if failure := live(t, rand.New(rand.NewPCG(seed, 1)), 60); failure != "" {
			t.Fatalf("seed %d: %s", seed, failure)
		}
	}
}

// life is what the test knows of a node besides its state.
type life struct {
	spec     v1alpha1.NodeRuleSetSpec
	seen     time.Time // when the revision was given
	verified map[string]bool
	reverted bool // the revision that is given now
}

func live(t *testing.T, random *rand.Rand, events int) string {
	modes := []v1alpha1.ProxyMode{v1alpha1.ModeNFTables, v1alpha1.ModeIPVS, v1alpha1.ModeIPTables}
	outcomes := []Outcome{{}, programmed, cutOff, unchecked, good, refused, bothSides, failing, unfit}
	l := life{spec: first, seen: start, verified: map[string]bool{}}
	now, s := start, State{}.Next(first, Outcome{}, start)
	for i := range events {
		var o Outcome
		set := false // the clock, at a restart
		switch random.IntN(5) {
		case 0:
			mode := modes[random.IntN(len(modes))]
			l.spec = asking("r-"+string(mode), mode, at(i))
			if random.IntN(4) == 0 {
				l.spec.AssignedTime = nil
			}
			l.seen, l.reverted = now, false
		case 1:
			l.spec.Node.Zone = fmt.Sprint(i)
		case 2:
			if set = random.IntN(10) == 0; set {
				now = now.Add(time.Duration(random.IntN(7200)-3600) * time.Second)
			}
			s = restart(t, s, now)
		default:
			o = outcomes[random.IntN(len(outcomes))]
			now = now.Add(time.Duration(random.IntN(30)) * time.Second)
		}
		before := s
		s = s.Next(l.spec, o, now)
		if s.Phase == v1alpha1.RevisionVerified && before.Phase != s.Phase {
			if o != good {
				return fmt.Sprintf("verified by %+v", o)
			}
			l.verified[l.spec.Revision] = true
		}
		if failure := l.check(s, now, set, o.Unfit); failure != "" {
			return fmt.Sprintf("event %d: %s: %+v", i, failure, s)
		}
		if set { // what counts from now on is not what the test can know
			l.seen = s.Since
		}
	}
	return ""
}

// check says what a state must not be.
func (l *life) check(s State, now time.Time, set, unfit bool) string {
	rules := s.Rules(l.spec)
	back := rules.Revision != l.spec.Revision
	over := now.Sub(l.seen) >= time.Minute
	switch {
	case back != (s.Phase == v1alpha1.RevisionReverted):
		return "what is programmed is not what is reported"
	case back && !l.verified[rules.Revision]:
		return "returned to a policy that was not verified"
	case back && l.spec.AssignedTime == nil:
		return "returned, though it was not on trial"
	case back && !over && !set && !unfit && !l.reverted:
		return "returned before the deadline"
	case l.reverted && !back:
		return "tried again"
	case !apiequality.Semantic.DeepEqual(rules.Node, l.spec.Node):
		return "old facts are programmed"
	case over && !set && !s.Ended() && s.Phase != v1alpha1.RevisionFailed:
		return "undecided after the deadline"
	case s.Phase == v1alpha1.RevisionFailed && l.spec.AssignedTime != nil && s.Verified != nil && s.Verified.Mode != l.spec.Mode:
		return "failed, and there is something to return to"
	case s.Due(l.spec).IsZero() != (s.Ended() || s.Phase == v1alpha1.RevisionFailed):
		return "waits for a deadline that does not count, or for none"
	}
	l.reverted = back
	return ""
}

// TestFieldsOfThePolicy names the fields of a NodeRuleSet that do not return with its policy. A
// new field is one of the policy, or belongs here and in withPolicy.
func TestFieldsOfThePolicy(t *testing.T) {
	stays := map[string]bool{"Node": true, "ServiceCIDRs": true, "MassRemoval": true, "DeletionPolicy": true,
		"CleanUpSince": true, "AssignedTime": true, "NodeDeadlineSeconds": true, "Checks": true}
	returns := map[string]bool{"Policy": true, "Revision": true, "Mode": true, "FallbackModes": true, "IPVS": true, "KubeProxy": true, "SessionAffinity": true,
		"NodePort": true, "ExternalIPs": true, "Masquerade": true, "LocalTraffic": true, "Conntrack": true}
	kind := reflect.TypeFor[v1alpha1.NodeRuleSetSpec]()
	for i := range kind.NumField() {
		name := kind.Field(i).Name
		if stays[name] == returns[name] {
			t.Errorf("%s: is it a field of the policy?", name)
		}
		var spec, policy v1alpha1.NodeRuleSetSpec
		fill(reflect.ValueOf(&spec).Elem().Field(i))
		policy = withPolicy(spec, policy)
		if kept := !reflect.ValueOf(policy).Field(i).IsZero(); kept != stays[name] {
			t.Errorf("%s stays: %v", name, kept)
		}
	}
}

// fill makes a value differ from zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int64, reflect.Int32:
		v.SetInt(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}
