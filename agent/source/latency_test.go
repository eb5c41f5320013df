// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestTriggersForget(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := newLatency(func() time.Time { return now })
	a := "default.a-v4-0"
	tr.note(a, now.Add(time.Second))
	tr.forget(a)
	if got := tr.take(map[string]struct{}{a: {}}); got != nil || len(tr.seen) > 0 {
		t.Errorf("measured %v of a slice that is gone, kept %v", got, tr.seen)
	}
}

// TestMomentsCountOnce notes a moment that a slice shows again: it was written for another
// reason.
func TestMomentsCountOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := newLatency(func() time.Time { return now })
	a := "default.a-v4-0"
	take := func() int { return len(tr.take(map[string]struct{}{a: {}})) }
	for _, step := range []struct {
		name  string
		began time.Time
		want  int
	}{
		{"before the start", now.Add(-time.Second), 0},
		{"a change", now.Add(time.Second), 1},
		{"the same again", now.Add(time.Second), 0},
		{"an older one", now.Add(time.Millisecond), 0},
		{"unknown", time.Time{}, 0},
		{"the next change", now.Add(2 * time.Second), 1},
	} {
		if tr.note(a, step.began); take() != step.want {
			t.Errorf("%s: want %d", step.name, step.want)
		}
	}
}

// TestBegan checks which moments of changes are measured when they are taken.
func TestBegan(t *testing.T) {
	at := func(l lab, seconds int) time.Time { return l.clock.Now().Add(time.Duration(seconds) * time.Second) }
	name := model.SliceNameOf(holdC)
	for what, c := range map[string]struct {
		do   func(lab)
		want int
	}{
		"nothing":                     {func(lab) {}, 0},
		"a change":                    {func(l lab) { l.store.SetSlice(name, whole("c", 121, 121), at(l, 1)) }, 1},
		"a change of an unknown time": {func(l lab) { l.store.SetSlice(name, whole("c", 121, 121), time.Time{}) }, 0},
		"it is there, and then gone": {func(l lab) {
			l.store.SetSlice(name, whole("c", 121, 121), at(l, 1))
			l.store.SetSlice(name, nil, at(l, 2))
			l.store.SetSlice(name, nil, at(l, 2)) // the mark, then the deletion
		}, 1},
		"it is taken, gone, and there again": {func(l lab) {
			l.store.SetSlice(name, nil, at(l, 2))
			l.store.Take()
			l.store.SetSlice(name, nil, at(l, 2))
			l.store.SetSlice(name, holdC, time.Time{})
		}, 0},
		"another Service of its name": {func(l lab) {
			l.store.SetSlice(name, nil, at(l, 2))
			l.store.Take()
			l.store.SetSlice(name, holdC, at(l, 1))
		}, 1},
		"it goes at an unknown time": {func(l lab) { l.store.SetSlice(name, nil, time.Time{}) }, 0},
		"it was not there":           {func(l lab) { l.store.SetSlice("default.other-v4-0", nil, at(l, 1)); l.set(holdA) }, 0},
		"the controller deletes it": {func(l lab) {
			s := agenttest.Slice(holdC)
			s.Annotations = model.TriggerAnnotation(at(l, 1))
			s.Annotations[v1alpha1.AnnotationObsolete] = "true"
			_ = l.Update(s)
		}, 1},
		"an older change comes later": {func(l lab) {
			l.store.SetSlice(name, whole("c", 121, 121), at(l, 2))
			l.store.Take()
			l.store.SetSlice(name, whole("c", 121, 122), at(l, 1))
		}, 0},
		"the same change again": {func(l lab) {
			l.store.SetSlice(name, whole("c", 121, 121), at(l, 2))
			l.store.Take()
			l.store.SetSlice(name, whole("c", 121, 122), at(l, 2))
		}, 0},
		"as the slice says it": {func(l lab) {
			s := agenttest.Slice(whole("c", 121, 121))
			s.Annotations = model.TriggerAnnotation(at(l, 1))
			_ = l.Update(s)
		}, 1},
		"it is held": {func(l lab) {
			l.set(holdA, holdB)
			l.store.Take()
			l.finish(holdA)
			setAt(l, whole("b", 1, 0), at(l, 1))
		}, 0},
		"it was held, and is released": {func(l lab) {
			l.set(holdA, holdB)
			l.store.Take()
			l.finish(holdA)
			setAt(l, whole("b", 1, 0), at(l, 1))
			l.check(whole("b", 1, 0))
		}, 0},
		"it was held, and is allowed": {func(l lab) {
			l.set(holdA, holdB)
			l.store.Take()
			l.finish(holdA)
			setAt(l, whole("b", 1, 0), at(l, 1))
			l.limit(v1alpha1.MassRemovalOptions{MaxPercent: 100})
		}, 0},
		"then all are listed": {func(l lab) { l.store.SetSlice(name, whole("c", 121, 121), at(l, 1)); l.list(whole("c", 121, 121)) }, 0},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLab(t, holdC)
			l.store.Take()
			c.do(l)
			if ch, ok := l.store.Take(); !ok || len(ch.Began) != c.want {
				t.Errorf("%v: measured %v, want %d", ok, ch.Began, c.want)
			}
		})
	}
}
