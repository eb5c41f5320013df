// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
)

var (
	soakTime = flag.Duration("soak", 0, "for how long TestSoak strikes")
	soakSeed = flag.Uint64("soak-seed", 0, "which nemeses strike, and how; 0: a random one")
	soakOnly = flag.String("nemesis", "", "the nemeses of TestSoak, with how often each strikes: kill-agent:100,kill-leader:20")
)

// TestNemeses lets each nemesis strike alone, under traffic to Services whose endpoints change.
func TestNemeses(t *testing.T) {
	a := newArena(t)
	for _, n := range nemeses {
		if n.alone == 0 {
			continue
		}
		t.Run(n.name, func(t *testing.T) {
			for i := range n.alone {
				a.round(t, uint64(i), n)
			}
		})
	}
	a.end(t)
}

// TestSoak lets nemeses strike in random order, one or two at a time.
func TestSoak(t *testing.T) {
	if *soakTime == 0 && *soakOnly == "" {
		t.Skip("takes as long as you like: make soak")
	}
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	left, counted := chosen(t)
	t.Logf("make soak SEED=%d NEMESIS=%s", seed, *soakOnly)
	r := rand.New(rand.NewPCG(seed, 0))
	a := newArena(t)
	for begin := time.Now(); len(left) > 0 && !t.Failed() && (counted || time.Since(begin) < *soakTime); {
		two := r.Perm(len(left))[:min(len(left), 1+r.IntN(2))]
		var names []nemesis
		for _, i := range two {
			left[i].times--
			names = append(names, left[i].nemesis)
		}
		left = slices.DeleteFunc(left, func(c choice) bool { return counted && c.times <= 0 })
		a.round(t, r.Uint64(), names...)
	}
	a.end(t)
}

// choice is a nemesis with how often it strikes.
type choice struct {
	nemesis
	times int
}

// chosen returns the nemeses of the flag, or all, and whether they are counted.
func chosen(t *testing.T) (all []choice, counted bool) {
	t.Helper()
	for _, item := range strings.FieldsFunc(*soakOnly, func(r rune) bool { return r == ',' }) {
		name, times, _ := strings.Cut(item, ":")
		i := slices.IndexFunc(nemeses, func(n nemesis) bool { return n.name == name })
		n, err := strconv.Atoi(times)
		if i < 0 || times != "" && err != nil {
			t.Fatalf("no nemesis %q", item)
		}
		all = append(all, choice{nemeses[i], n})
		counted = counted || times != ""
	}
	if len(all) == 0 {
		for _, n := range nemeses {
			all = append(all, choice{nemesis: n})
		}
	}
	return all, counted
}

// round lets nemeses strike at the same time, heals, waits until everything is as desired, and
// checks the connections since the last round.
func (a *arena) round(t *testing.T, seed uint64, struck ...nemesis) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	if slices.ContainsFunc(struck, func(n nemesis) bool { return n.quiet }) {
		// Pods that have not ended yet would end behind the nodes' backs.
		eventually(t, 2*podGrace, func() error { return settled(t.Context(), a.namespace) })
	} else {
		a.changes.start(r.Uint64())
	}
	defer a.changes.stop()
	slices.SortStableFunc(struck, func(a, b nemesis) int {
		switch {
		case a.noAPI == b.noAPI:
			return 0
		case b.noAPI:
			return -1
		}
		return 1
	})
	var hits []hit
	for _, n := range struck {
		begin := time.Now()
		h, err := n.strike(a, r)
		if h.heal != nil {
			h.heal = sync.OnceValue(h.heal)
			t.Cleanup(func() { _ = h.heal() }) // after a failure; it is idempotent
		}
		if err != nil {
			t.Fatalf("%s: %v", n.name, err)
		}
		h.Strike.Name, h.Strike.From = n.name, begin
		hits = append(hits, h)
		time.Sleep(time.Duration(r.Int64N(int64(time.Second)))) // between two, not a state to wait for
	}
	for i := range slices.Backward(hits) {
		h := &hits[i]
		time.Sleep(time.Until(h.From.Add(h.hold))) // how long it lasts, not a state to wait for
		if h.heal != nil {
			if err := h.heal(); err != nil {
				t.Fatalf("heal %s: %v", h.Name, err)
			}
		}
	}
	for i := range hits {
		h := &hits[i]
		over := h.over
		if over == nil {
			over = func() error { return followed(h.Node) }
		}
		eventually(t, cmp.Or(h.patience, 2*time.Minute), over)
		h.To = time.Now()
		if h.Effect != "" {
			a.strikes = append(a.strikes, h.Strike)
		}
		t.Logf("%s: %s %s %s until %s", h.From.Format(time.TimeOnly), h.Name, h.Node, h.Effect, h.To.Format(time.TimeOnly))
	}
	a.changes.stop()
	eventually(t, 2*time.Minute, allGood)
	for _, node := range labNodes {
		wantKernel(t, node)
	}
	a.check(t)
}

// check checks the connections since the last time.
func (a *arena) check(t *testing.T) {
	t.Helper()
	rules := checker.Rules{Lag: lag, Strikes: a.strikes}
	violations, counts := checker.Check(a.running.Take(), a.history, rules)
	a.total.Add(counts)
	t.Log(counts)
	if len(violations) > 0 {
		t.Error(checker.Report(violations, a.history, rules, lag))
	}
}

// end ends the traffic and checks it to the end.
func (a *arena) end(t *testing.T) {
	t.Helper()
	a.running.Stop()
	a.check(t)
	t.Logf("in all: %v", a.total)
}

// followed returns an error unless the agents of a node, or of all, have programmed what the
// API holds. For all nodes, a controller must lead too: else what the API holds is old.
func followed(node string) error {
	var errs []error
	if node == "" {
		_, _, _, err := leader()
		errs = append(errs, err)
	}
	for _, n := range labNodes {
		if node != "" && n != node {
			continue
		}
		ctx, cancel := shortly()
		defer cancel()
		_, digest, err := desired(ctx, n)
		if err != nil {
			return err
		}
		status, err := agentStatus(n)
		if err == nil && status.RulesDigest != digest {
			err = fmt.Errorf("the agent of %s has programmed %s, the API holds %s", n, status.RulesDigest, digest)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// allGood returns an error unless all conditions say that all is as desired.
func allGood() error {
	ctx, cancel := shortly()
	defer cancel()
	var errs []error
	var pc v1alpha1.ProxyConfig
	if err := api.Get(ctx, client.ObjectKey{Name: "default"}, &pc); err != nil {
		return err
	}
	for condition, want := range map[string]string{v1alpha1.ConditionAvailable: "True", v1alpha1.ConditionDegraded: "False"} {
		if c := apimeta.FindStatusCondition(pc.Status.Conditions, condition); c == nil || string(c.Status) != want {
			errs = append(errs, fmt.Errorf("the ProxyConfig's %s is %+v", condition, c))
		}
	}
	for _, node := range labNodes {
		var set v1alpha1.NodeRuleSet
		if err := api.Get(ctx, client.ObjectKey{Name: node}, &set); err != nil {
			return err
		}
		for condition, want := range map[string]string{v1alpha1.ConditionProgrammed: "True", v1alpha1.ConditionDegraded: "False"} {
			if c := apimeta.FindStatusCondition(set.Status.Conditions, condition); c == nil || string(c.Status) != want {
				errs = append(errs, fmt.Errorf("%s: %s is %+v", node, condition, c))
			}
		}
		errs = append(errs, podReady(ctx, node))
	}
	return errors.Join(errs...)
}
