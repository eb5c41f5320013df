// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// event is one step of a simulation. Its numbers choose, modulo, among what there is, so
// that any list of events can be run: a shorter one, too.
type event struct {
	do   action
	a, b int
	d    time.Duration
}

// action is what an event does.
type action string

// Changes of the world, and time.
const (
	advance       action = "advance"
	addService    action = "addService"
	removeService action = "removeService"
	moveService   action = "moveService" // to another port
	setLocal      action = "setLocal"    // internalTrafficPolicy
	setOther      action = "setOther"    // gives it to another proxy, or takes it back
	addPod        action = "addPod"
	removePod     action = "removePod"
	setPod        action = "setPod"      // ready, not ready, terminating
	replacePods   action = "replacePods" // all of a Service, as a rolling update without patience
	moveSlices    action = "moveSlices"  // an endpoint to another EndpointSlice
	growService   action = "growService"
	editPolicy    action = "editPolicy"
	calm          action = "calm" // all faults end, and everything must be right
)

// Faults.
const (
	lag           action = "lag"           // of watches
	cutWatches    action = "cutWatches"    // of a client
	compact       action = "compact"       // 410 for all watches
	failCalls     action = "failCalls"     // of a client
	cutOff        action = "cutOff"        // a process from the apiserver
	killAgent     action = "killAgent"     //
	killAgentTorn action = "killAgentTorn" // and its journal is torn
	rebootNode    action = "rebootNode"    // with the journal of some time before
	upgradeAgent  action = "upgradeAgent"  // or back
	fillDisk      action = "fillDisk"      // until calm
	failKernel    action = "failKernel"
	breakKernel   action = "breakKernel" // for longer than a status may be wrong
	driftKernel   action = "driftKernel" // another program removes rules
	crashAlone    action = "crashAlone"  // an agent after it has programmed, and the next one does not reach the apiserver
	startBlind    action = "startBlind"  // an agent without a journal, when slices are gone and the controllers are paused
	killLeader    action = "killLeader"
	pauseLeader   action = "pauseLeader" // its requests are done late
	deleteSlices  action = "deleteSlices"
	deleteSets    action = "deleteSets" // NodeRuleSets
	foreignSlice  action = "foreignSlice"
	dropCRD       action = "dropCRD" // of the slices, for some time
	backup        action = "backup"  // in the next calm: in the middle of a change, slices are older than Services
	restore       action = "restore"
	oldSchema     action = "oldSchema"   // until calm
	deleteLease   action = "deleteLease" // the leader's
	dropPolicy    action = "dropPolicy"  // the ProxyConfig, until calm
	goRogue       action = "goRogue"     // a controller removes slices, or their endpoints
)

// String prints an event as Go code.
func (e event) String() string {
	return fmt.Sprintf("{do: %s, a: %d, b: %d, d: %d}", e.do, e.a, e.b, e.d)
}

func format(events []event) string {
	var out strings.Builder
	for _, e := range events {
		fmt.Fprintf(&out, "\t%s,\n", e)
	}
	return out.String()
}

// weights are how often an action comes.
type weights []struct {
	do     action
	weight int
}

var changes = weights{
	{addService, 30}, {removeService, 25}, {moveService, 10}, {setLocal, 10}, {setOther, 10}, {addPod, 110}, {removePod, 90},
	{setPod, 90}, {replacePods, 30}, {moveSlices, 20}, {editPolicy, 5},
}

var callFaults = weights{{lag, 30}, {cutWatches, 20}, {compact, 10}, {failCalls, 60}, {cutOff, 15}}

var processFaults = weights{
	{killAgent, 30}, {killAgentTorn, 10}, {rebootNode, 8}, {upgradeAgent, 10}, {fillDisk, 10}, {failKernel, 40}, {driftKernel, 10},
	{killLeader, 10}, {pauseLeader, 10}, {breakKernel, 3}, {crashAlone, 15},
}

var clusterFaults = weights{
	{deleteSlices, 15}, {deleteSets, 6}, {foreignSlice, 10}, {dropCRD, 5}, {backup, 8}, {restore, 5}, {oldSchema, 5}, {dropPolicy, 3}, {deleteLease, 5},
	{startBlind, 10}, {goRogue, 10},
}

var disasters = weights{{startBlind, 10}, {crashAlone, 5}, {goRogue, 5}}

// seedProfile is which faults a seed has.
func seedProfile(seed uint64) (faults weights, share int) {
	switch seed % 5 {
	case 0:
		return nil, 0
	case 1:
		return callFaults, 10
	case 2:
		return append(append(weights{}, callFaults...), processFaults...), 15
	}
	return append(append(append(weights{}, callFaults...), processFaults...), clusterFaults...), 10 + int(seed%3)*10
}

// calmEvery is the mean number of events between two calms.
const calmEvery = 150

// draw returns the events of a seed.
func draw(seed uint64, n int) []event {
	r := rand.New(rand.NewPCG(seed, 1))
	faults, share := seedProfile(seed)
	disastrous := seed%5 >= 3
	var out []event
	if disastrous && seed%3 == 0 {
		out = append(out, event{do: addService}, event{do: growService}, event{do: calm}, event{do: goRogue, b: int(seed / 3 % 2)})
	}
	for range n {
		e := event{a: r.IntN(1000), b: r.IntN(1000)}
		switch p := r.IntN(100); {
		case r.IntN(calmEvery) == 0:
			e.do = calm
		case p < share:
			e.do, e.d = faults.choose(r), time.Duration(1+r.IntN(20_000))*time.Millisecond
		case p < share+30:
			e.do, e.d = advance, pauses[r.IntN(len(pauses))]
		case seed%7 == 3 && r.IntN(200) == 0:
			e.do = growService
		default:
			e.do = changes.choose(r)
		}
		out = append(out, e)
		if e.do == calm && disastrous {
			// Now the oracle knows best what must not be lost.
			out = append(out, event{do: disasters.choose(r), a: e.a, b: e.b, d: 10 * time.Second})
		}
	}
	return append(out, event{do: calm})
}

// pauses are how long the world rests between changes.
var pauses = []time.Duration{time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 200 * time.Millisecond, time.Second,
	time.Second, 3 * time.Second, 10 * time.Second}

func (w weights) choose(r *rand.Rand) action {
	sum := 0
	for _, x := range w {
		sum += x.weight
	}
	n := r.IntN(sum)
	for _, x := range w {
		if n -= x.weight; n < 0 {
			return x.do
		}
	}
	panic("the weights are wrong")
}
