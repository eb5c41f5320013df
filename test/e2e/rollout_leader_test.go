// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

var rolloutsToo = flag.Bool("rollouts", false, "run the tests of rollouts that take minutes")

// deaths are the phases, with their stage, in which the leader dies. A person approves each stage.
var deaths = []struct {
	phase string

	// then has what else is done when the first rollout shows a phase: a patch of its spec, or of
	// that of the ProxyConfig ("policy ...").
	then map[string]string
	ends v1alpha1.RolloutPhase

	// want are the revisions that nodes are given, in order: 0 is the one before, 1 and 2 are those of
	// the rollouts that begin.
	want string
}{
	{"Pending", nil, v1alpha1.RolloutSucceeded, allInOrder},
	{"Updating canary", nil, v1alpha1.RolloutSucceeded, allInOrder},
	{"Verifying canary", nil, v1alpha1.RolloutSucceeded, allInOrder},
	{"Soaking canary", nil, v1alpha1.RolloutSucceeded, allInOrder},
	{"AwaitingApproval canary", nil, v1alpha1.RolloutSucceeded, allInOrder},
	{"Updating rest", nil, v1alpha1.RolloutSucceeded, allInOrder},
	{"Succeeded", nil, v1alpha1.RolloutSucceeded, allInOrder},
	{"Paused more", map[string]string{"AwaitingApproval canary": `"approvedStages": ["canary"], "state": "Pause"`, "Paused more": `"state": "Run"`},
		v1alpha1.RolloutSucceeded, allInOrder},
	{"RollingBack", map[string]string{"AwaitingApproval more": `"state": "Abort"`}, v1alpha1.RolloutRolledBack, thereAndBack},
	{"RolledBack", map[string]string{"AwaitingApproval more": `"state": "Abort"`}, v1alpha1.RolloutRolledBack, thereAndBack},
	{"Superseded", map[string]string{"AwaitingApproval canary": `policy "sessionAffinity": {"timeoutSeconds": 9000}`}, v1alpha1.RolloutSucceeded,
		"node-1=1 node-1=2 node-2=2 node-3=2"},
	{"Blocked", map[string]string{"Blocked": `policy "mode": "NFTables", "sessionAffinity": {"timeoutSeconds": 9001}`}, v1alpha1.RolloutSucceeded,
		"node-1=2 node-2=2 node-3=2"},
}

const (
	allInOrder   = "node-1=1 node-2=1 node-3=1"
	thereAndBack = "node-1=1 node-2=1 node-1=0 node-2=0"
)

// approvals is what a person says of a rollout that waits for it.
var approvals = map[string]string{
	"AwaitingApproval canary": `"approvedStages": ["canary"]`,
	"AwaitingApproval more":   `"approvedStages": ["canary", "more"]`,
}

// TestRolloutOfADyingLeader kills the leading controller in each phase of a rollout. No node is given
// a revision twice or out of order, never more than one changes, and no two rollouts overlap.
func TestRolloutOfADyingLeader(t *testing.T) {
	if !*rolloutsToo {
		t.Skip("takes minutes: make test-e2e-rollout")
	}
	t.Cleanup(func() { resetPolicy(t) })
	startWith(t, v1alpha1.ModeNFTables)
	h := newRolloutHistory(t)
	for i, d := range deaths {
		h.begin(t)
		kill, replaced := leaderToKill(t)
		spec, soak := fmt.Sprintf(`"sessionAffinity": {"timeoutSeconds": %d}`, 8000+i), 1
		switch d.phase {
		case "Blocked":
			spec = `"mode": "IPVS"`
		case "Soaking canary":
			soak = 10 // else it may be over before the controller looks
		case "Verifying canary":
			kill = both(kill, hangAgent(t)) // else it may be over
		}
		changePolicy(t.Context(), t, spec+fmt.Sprintf(`, "rollout": {"strategy": "Staged", "maxUnavailable": 1, "stages": [
			{"name": "canary", "nodes": 1, "soakSeconds": %d, "approval": "Required"}, {"name": "more", "nodes": 2, "soakSeconds": 1, "approval": "Required"}]}`, soak))
		shown := map[string]bool{}
		h.follow(t, func(name, phase string) {
			if phase == d.phase && !shown[phase] {
				kill()
			}
			shown[phase] = true
			patch := approvals[phase]
			if then, ok := d.then[phase]; ok && name == h.revisions[1] {
				patch = then
			}
			if !shown[name+phase] {
				shown[name+phase] = true
				h.patch(t, name, patch)
			}
		}, func() error {
			if !shown[d.phase] {
				return fmt.Errorf("the rollout has not been %s", d.phase)
			}
			return errors.Join(replaced(), rolledOut(t, d.ends, v1alpha1.ModeNFTables), h.complete(t))
		})
		got := h.numbers()
		t.Logf("%s: %s", d.phase, got)
		if diff := cmp.Diff(d.want, got); diff != "" {
			t.Errorf("the leader dies when the rollout is %s: what nodes were given (-want +got):\n%s", d.phase, diff)
		}
	}
}

// leaderToKill returns how to kill the leader, and whether another one leads.
func leaderToKill(t *testing.T) (kill func(), replaced func() error) {
	t.Helper()
	_, pid, old, err := leader()
	if err != nil {
		t.Fatal(err)
	}
	kill = func() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	return kill, func() error {
		_, _, now, err := leader()
		if err == nil && now == old {
			err = fmt.Errorf("%s still leads", old)
		}
		return err
	}
}

// both does one thing and then another one.
func both(first, second func()) func() { return func() { first(); second() } }

// rolloutHistory is all that the API has had of rollouts, in its order.
type rolloutHistory struct {
	rollouts, sets watch.Interface
	known          map[string]bool                  // rollouts that began before
	revisions      []string                         // 0 is the one before, then those of the rollouts
	nodes          map[string]*v1alpha1.NodeRuleSet // as they were last
	given          []string                         // node=number
}

func newRolloutHistory(t *testing.T) *rolloutHistory {
	t.Helper()
	h := &rolloutHistory{known: map[string]bool{}, nodes: map[string]*v1alpha1.NodeRuleSet{}}
	follow := func(list client.ObjectList) watch.Interface {
		w, err := api.Watch(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		return w
	}
	var before v1alpha1.ProxyRolloutList
	if err := api.List(t.Context(), &before); err != nil {
		t.Fatal(err)
	}
	for _, o := range before.Items {
		h.known[o.Name] = true
	}
	h.rollouts, h.sets = follow(&v1alpha1.ProxyRolloutList{}), follow(&v1alpha1.NodeRuleSetList{})
	return h
}

// begin forgets what was, but not what nodes have.
func (h *rolloutHistory) begin(t *testing.T) {
	t.Helper()
	set, err := ruleSet(t, canary)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range h.revisions {
		h.known[name] = true
	}
	h.revisions, h.given = []string{set.Spec.Revision}, nil
}

// follow calls shows for each phase that a rollout of now shows, until it has ended.
func (h *rolloutHistory) follow(t *testing.T, shows func(name, phase string), ended func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	err := errors.New("nothing has happened")
	for deadline := time.After(3 * time.Minute); ; {
		select {
		case e := <-h.rollouts.ResultChan():
			o, ok := e.Object.(*v1alpha1.ProxyRollout)
			if !ok {
				t.Fatalf("the watch says %+v", e)
			}
			if h.known[o.Name] || e.Type == watch.Deleted || o.Status.Phase == "" {
				continue
			}
			if !slices.Contains(h.revisions, o.Name) {
				h.revisions = append(h.revisions, o.Name)
			}
			shows(o.Name, strings.TrimSpace(string(o.Status.Phase)+" "+o.Status.Stage))
		case e := <-h.sets.ResultChan():
			set, ok := e.Object.(*v1alpha1.NodeRuleSet)
			if !ok {
				t.Fatalf("the watch says %+v", e)
			}
			h.follows(t, set)
		case <-tick.C:
			if err = ended(); err == nil {
				return
			}
		case <-deadline:
			t.Fatalf("%v; %v", err, h.given)
		}
	}
}

// follows notes what a node is given, and checks that no other one changes.
func (h *rolloutHistory) follows(t *testing.T, set *v1alpha1.NodeRuleSet) {
	t.Helper()
	before := h.nodes[set.Name]
	h.nodes[set.Name] = set
	if before != nil && (before.Spec.Revision != set.Spec.Revision || !before.Spec.AssignedTime.Equal(set.Spec.AssignedTime)) {
		h.given = append(h.given, set.Name+"="+set.Spec.Revision)
	}
	changing := 0
	for _, s := range h.nodes {
		if r := s.Status.Revision; r == nil || r.Name != s.Spec.Revision || r.Phase != v1alpha1.RevisionVerified || !r.AssignedTime.Equal(s.Spec.AssignedTime) {
			changing++
		}
	}
	if changing > 1 {
		t.Errorf("%d nodes change at once: %s", changing, h.given)
	}
}

// complete says whether the watch has come to what the API has now.
func (h *rolloutHistory) complete(t *testing.T) error {
	for _, node := range labNodes {
		set, err := ruleSet(t, node)
		if err != nil {
			return err
		}
		if seen := h.nodes[node]; seen == nil || seen.ResourceVersion != set.ResourceVersion {
			return fmt.Errorf("the watch is behind on %s", node)
		}
	}
	return nil
}

// numbers returns what nodes were given, with the numbers of the revisions.
func (h *rolloutHistory) numbers() string {
	text := strings.Join(h.given, " ")
	for i, name := range h.revisions {
		text = strings.ReplaceAll(text, name, fmt.Sprint(i))
	}
	return text
}

// patch changes the spec of a ProxyRollout, or the policy.
func (h *rolloutHistory) patch(t *testing.T, name, spec string) {
	t.Helper()
	if policy, ok := strings.CutPrefix(spec, "policy "); ok {
		changePolicy(t.Context(), t, policy)
		return
	}
	if spec == "" {
		return
	}
	o := &v1alpha1.ProxyRollout{}
	o.Name = name
	if err := api.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"spec": {`+spec+`}}`))); err != nil {
		t.Fatal(err)
	}
}
