// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package checker_test

import (
	"cmp"
	"errors"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
	"github.com/fairlead-proxy/fairlead/test/robustness/history"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// at is a time of the tests, in seconds.
func at(seconds float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

var web = history.Key{Service: "web", Family: corev1.IPv4Protocol}

// The endpoints of the tests: until 20 a and b, until 40 b and c, then none until 50; then d,
// which terminates from 60 on and is replaced by e at 70. Pod a was deleted at 20, and ends
// at 25 at the earliest.
func endpoints() *history.History {
	h := &history.History{}
	ready := func(pods ...string) (out []history.Endpoint) {
		for _, p := range pods {
			out = append(out, history.Endpoint{Pod: p, Ready: true, Serving: true})
		}
		return out
	}
	leaving := history.Endpoint{Pod: "d", Serving: true, Terminating: true}
	h.Slice(at(0), web, "web-1", ready("a", "b"))
	h.Slice(at(20), web, "web-1", ready("b", "c"))
	h.PodEnds("a", at(25))
	h.Slice(at(40), web, "web-1", nil)
	h.Slice(at(50), web, "web-2", ready("d"))
	h.Slice(at(60), web, "web-2", []history.Endpoint{leaving, {Pod: "f"}})
	h.Slice(at(70), web, "web-2", append(ready("e"), leaving))
	return h
}

// test is a record with what must come of it.
type test struct {
	record  traffic.Record
	strikes []checker.Strike
	// want is in the reason of a violation. Without one, the outcome is.
	want    string
	outcome checker.Outcome
}

func record(kind traffic.Kind) func(start, end float64, pod string, err error) traffic.Record {
	to := traffic.Target{Service: "web", Family: corev1.IPv4Protocol}
	return func(start, end float64, pod string, err error) traffic.Record {
		return traffic.Record{Kind: kind, To: to, Via: "node-1", Pod: pod, Start: at(start), End: at(end), Err: err}
	}
}

var (
	connection, exchange, stream = record(traffic.Connection), record(traffic.Exchange), record(traffic.Stream)

	errRefused = errors.New("refused")
)

func before(pod string, r traffic.Record) traffic.Record {
	r.Before = pod
	return r
}

func strike(effect checker.Effect, node string, from, to float64) []checker.Strike {
	return []checker.Strike{{Name: "kill", Effect: effect, Node: node, From: at(from), To: at(to)}}
}

func TestConnections(t *testing.T) {
	check(t, map[string]test{
		"to an endpoint":                        {record: connection(10, 10.1, "a", nil)},
		"to a Pod that never was one":           {record: connection(10, 10.1, "x", nil), want: "no endpoint"},
		"to one of the last seconds":            {record: connection(21.9, 22, "a", nil)},
		"to one of longer ago":                  {record: connection(22.1, 22.2, "a", nil), want: "no endpoint"},
		"to one of which the history is late":   {record: connection(18.5, 18.6, "c", nil)},
		"to one that comes later":               {record: connection(17.8, 17.9, "c", nil), want: "no endpoint"},
		"of another Service":                    {record: traffic.Record{Kind: traffic.Connection, To: traffic.Target{Service: "api"}, Pod: "a", Start: at(10), End: at(10)}, want: "no endpoint"},
		"failed":                                {record: connection(10, 10.1, "", errRefused), want: "although there were endpoints: refused"},
		"failed during a change":                {record: connection(20, 20.1, "", errRefused), want: "although"},
		"failed without endpoints":              {record: connection(45, 45.1, "", errRefused), outcome: checker.NoEndpoints},
		"failed a moment after that":            {record: connection(51.9, 52, "", errRefused), outcome: checker.NoEndpoints},
		"failed longer after that":              {record: connection(52.1, 52.2, "", errRefused), want: "although"},
		"answered without endpoints":            {record: connection(45, 45.1, "b", nil), want: "no endpoint"},
		"to one that terminates, none is ready": {record: connection(65, 65.1, "d", nil)},
		"failed then":                           {record: connection(65, 65.1, "", errRefused), want: "although"},
		"to one that is not ready, or serving":  {record: connection(65, 65.1, "f", nil), want: "no endpoint"},
		"to one that terminates, one is ready":  {record: connection(73, 73.1, "d", nil), want: "no endpoint"},

		"blind: to an old one":                  {record: connection(29, 29.1, "a", nil), strikes: strike(checker.Blind, "node-1", 19, 29)},
		"blind until a moment ago":              {record: connection(30, 30.1, "a", nil), strikes: strike(checker.Blind, "node-1", 19, 29)},
		"blind until longer ago":                {record: connection(31.1, 31.2, "a", nil), strikes: strike(checker.Blind, "node-1", 19, 29), want: "no endpoint"},
		"blind after the change was seen":       {record: connection(29, 29.1, "a", nil), strikes: strike(checker.Blind, "node-1", 23, 30), want: "no endpoint"},
		"another node is blind":                 {record: connection(29, 29.1, "a", nil), strikes: strike(checker.Blind, "node-2", 19, 29), want: "no endpoint"},
		"every node is blind":                   {record: connection(29, 29.1, "a", nil), strikes: strike(checker.Blind, "", 19, 29)},
		"blind: to a Pod that never was one":    {record: connection(29, 29.1, "x", nil), strikes: strike(checker.Blind, "", 19, 29), want: "no endpoint"},
		"blind: failed":                         {record: connection(29, 29.1, "", errRefused), strikes: strike(checker.Blind, "", 19, 29), want: "although"},
		"blind twice":                           {record: connection(29, 29.1, "a", nil), strikes: append(strike(checker.Blind, "", 24, 29), strike(checker.Blind, "", 18, 23)...)},
		"blind twice, with time enough between": {record: connection(29, 29.1, "a", nil), strikes: append(strike(checker.Blind, "", 26, 29), strike(checker.Blind, "", 18, 23)...), want: "no endpoint"},
		"blind twice at a time":                 {record: connection(29, 29.1, "a", nil), strikes: append(strike(checker.Blind, "", 22, 29), strike(checker.Blind, "", 18, 25)...)},
		"broken: failed":                        {record: connection(10, 10.1, "", errRefused), strikes: strike(checker.Broken, "node-1", 9, 11), outcome: checker.Damaged},
		"another node is broken":                {record: connection(10, 10.1, "", errRefused), strikes: strike(checker.Broken, "node-2", 9, 11), want: "although"},
		"failed after the repair":               {record: connection(11.1, 11.2, "", errRefused), strikes: strike(checker.Broken, "node-1", 9, 11), want: "although"},
		"broken: to a Pod that never was one":   {record: connection(10, 10.1, "x", nil), strikes: strike(checker.Broken, "node-1", 9, 11), want: "no endpoint"},
	})
}

func TestFlowsAndStreams(t *testing.T) {
	check(t, map[string]test{
		"a datagram without an answer":                     {record: exchange(10, 11, "", errRefused), want: "although"},
		"a flow to one that terminates":                    {record: exchange(73, 73.1, "d", nil)},
		"a flow to one that is not ready":                  {record: exchange(73, 73.1, "f", nil), want: "no endpoint"},
		"a flow whose Pod has just ended":                  {record: before("a", exchange(24, 25.1, "", errRefused)), strikes: strike(checker.Blind, "", 19, 25), outcome: checker.PodEnded},
		"a flow whose Pod ended, which the node must know": {record: before("a", exchange(24, 25.1, "", errRefused)), want: "although"},
		"a flow whose Pod has not ended":                   {record: before("a", exchange(22, 23, "", errRefused)), strikes: strike(checker.Blind, "", 19, 25), want: "although"},
		"a new connection then":                            {record: before("a", connection(24, 25.1, "", errRefused)), strikes: strike(checker.Blind, "", 19, 25), want: "although"},
		"a flow to one of longer ago":                      {record: exchange(22.1, 22.2, "a", nil), want: "no endpoint"},
		"an open connection":                               {record: stream(10, 30, "a", nil)},
		"it breaks":                                        {record: stream(10, 15, "a", errRefused), want: "broke while its Pod lived: refused"},
		"it breaks before its Pod ends":                    {record: stream(10, 24.9, "a", errRefused), want: "broke"},
		"it breaks when its Pod ends":                      {record: stream(10, 25, "a", errRefused), outcome: checker.PodEnded},
		"it breaks while the node is broken":               {record: stream(10, 15, "a", errRefused), strikes: strike(checker.Broken, "", 9, 20), outcome: checker.Damaged},
		"it breaks after the repair":                       {record: stream(10, 25, "b", errRefused), strikes: strike(checker.Broken, "", 9, 20), want: "broke"},
		"it begins at one of longer ago":                   {record: stream(22.1, 23, "a", nil), want: "no endpoint"},
		"it began at one that was not there":               {record: stream(10, 30, "c", nil), want: "no endpoint"},
		"it breaks before the first answer":                {record: stream(10, 10.1, "", errRefused), want: "broke"},
		"it breaks without an endpoint there":              {record: stream(45, 45.1, "", errRefused), want: "broke"},
	})
}

func check(t *testing.T, tests map[string]test) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := endpoints()
			rules := checker.Rules{Lag: 2 * time.Second, Strikes: test.strikes}
			got, counts := checker.Check([]traffic.Record{test.record}, h, rules)
			switch {
			case test.want == "" && len(got) > 0:
				t.Errorf("a violation: %s", got[0].Why)
			case test.want != "" && len(got) == 0:
				t.Errorf("no violation, want %q", test.want)
			case test.want != "" && !strings.Contains(got[0].Why, test.want):
				t.Errorf("violation %q, want %q", got[0].Why, test.want)
			}
			outcome := cmp.Or(test.outcome, checker.Answered)
			if test.want != "" {
				outcome = checker.Violates
			}
			want := checker.Counts{test.record.Kind: {outcome: 1}}
			if d := gocmp.Diff(want, counts); d != "" {
				t.Errorf("counts (-want +got):\n%s", d)
			}
		})
	}
}

func TestReport(t *testing.T) {
	h := endpoints()
	rules := checker.Rules{Lag: 2 * time.Second, Strikes: []checker.Strike{
		{Name: "flush", Effect: checker.Broken, Node: "node-2", From: at(18), To: at(19)},
		{Name: "kill", Effect: checker.Blind, From: at(90), To: at(95)},
	}}
	records := []traffic.Record{{Kind: traffic.Connection, From: "node-3", Via: "node-1", Start: at(20), End: at(20.1), Err: errors.New("refused"),
		To: traffic.Target{Service: "web", Family: corev1.IPv4Protocol, Protocol: corev1.ProtocolTCP, Address: "10.96.0.1:80"}}}
	violations, _ := checker.Check(records, h, rules)
	got := checker.Report(violations, h, rules, time.Second)
	want := []string{"1 violations", "connection TCP from node-3 by node-1 to web (10.96.0.1:80), 100ms: failed although",
		"web IPv4: endpoints a, b", "flush: node-2 is broken", "web IPv4: endpoints b, c"}
	for i, line := range strings.Split(strings.TrimSpace(got), "\n") {
		if i >= len(want) || !strings.Contains(line, want[i]) {
			t.Errorf("line %d is %q, want one with %q", i, line, want[min(i, len(want)-1)])
		}
	}
}
