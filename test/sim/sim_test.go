// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

var (
	soak    = flag.Duration("sim.time", 0, "how long TestSoak runs new seeds")
	first   = flag.Uint64("sim.seed", 0, "the first seed of TestSoak; 0: a random one")
	steps   = flag.Int("sim.steps", 1000, "events of a seed of TestSoak")
	verbose = flag.Bool("sim.log", false, "print the events and the log of all processes")
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The default ones have a rate limit across bubbles, whose clocks differ.
	utilruntime.ErrorHandlers = nil
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// TestSeeds runs a fixed set of seeds.
func TestSeeds(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if r := runEvents(t, draw(seed, 300)); r.err != nil {
				t.Errorf("step %d: %v; to shrink it: make sim SIMSEED=%d", r.steps, r.err, seed)
			}
		})
	}
}

// reportEvery is after how many seeds TestSoak says how far it is.
const reportEvery = 20

// TestSoak runs new seeds for a time. If one fails, it prints a short list of events that
// fails, too: it belongs into TestRegressions.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		t.Skip("no -sim.time: see make sim")
	}
	seed := *first
	if seed == 0 {
		seed = 1_000_000 + rand.Uint64N(1_000_000)
	}
	begun, done, seeds := time.Now(), 0, 0
	for ; time.Since(begun) < *soak; seed++ {
		events := draw(seed, *steps)
		r := runEvents(t, events)
		done, seeds = done+r.steps, seeds+1
		if r.err != nil {
			fail(t, seed, events, r)
		}
		if seeds%reportEvery == 0 {
			t.Logf("%d steps of %d seeds so far", done, seeds)
		}
	}
	t.Logf("%d steps of %d seeds, the last one %d", done, seeds, seed-1)
}

// fail reports a seed that fails.
func fail(t *testing.T, seed uint64, events []event, r result) {
	t.Errorf("seed %d fails in step %d (%s): %v", seed, r.steps, events[max(0, r.steps-1)].do, r.err)
	short := shrink(append(events[:r.steps:r.steps], event{do: calm}), shrinkTries, func(events []event) bool {
		again := runEvents(t, events)
		if again.err != nil {
			r = again
		}
		return again.err != nil
	})
	t.Errorf("%d events fail, too: %v\n%s", len(short), r.err, format(short))
}

// shrinkTries bounds the runs that look for a shorter list.
const shrinkTries = 150

// runEvents runs events in a bubble of their own.
func runEvents(t *testing.T, events []event) (r result) {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(*testing.T) { r = run(events, dir, logger()) })
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	return r
}

func logger() logr.Logger {
	if !*verbose {
		return logr.Discard()
	}
	start := time.Now()
	return funcr.New(func(prefix, args string) { fmt.Println(time.Since(start), prefix, args) }, funcr.Options{Verbosity: 1})
}
