// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wait

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/kubectl/status"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestReport(t *testing.T) {
	newest := ruleSlice("web", 0, "02")
	compiled := func() *Follower {
		f := NewFollower(web)
		f.Set(newest)
		f.Want(wanted(newest))
		return f
	}
	good := status.Node{Name: "a", State: "Programmed", Well: true, Digest: model.XORDigest("02")}
	older := status.Node{Name: "b", State: "Programmed", Well: true, Digest: model.XORDigest("01")}
	failing := status.Node{Name: "c", State: "KernelError", Message: "no buffer space available", Digest: model.XORDigest("01")}
	degraded := status.Node{Name: "d", State: "Drift", Digest: model.XORDigest("02")}
	silent := status.Node{Name: "e", State: status.NotReporting, Message: "the agent has not renewed its NodeHeartbeat", Digest: model.XORDigest("02")}
	given := status.Node{Name: "f", State: "GivenBack", Well: true}
	cases := map[string]struct {
		follower *Follower
		nodes    []status.Node
		done     bool
		want     string
	}{
		"all have them":    {compiled(), []status.Node{good, degraded, given}, true, "Service default/web: 2 of 2 nodes have the newest rules.\n"},
		"not compiled":     {NewFollower(web), []status.Node{good}, false, "Service default/web: the controller has not written the newest rules.\n"},
		"no node":          {compiled(), nil, false, "Service default/web: no node has a policy.\n"},
		"only kube-proxys": {compiled(), []status.Node{given}, false, "Service default/web: no node has a policy.\n"},
		"some have not": {compiled(), []status.Node{good, older, failing, silent}, false, `Service default/web: 1 of 4 nodes have the newest rules.

NODE   STATE          MESSAGE
b      OlderRules     it reports changed rules at most once a minute
c      KernelError    no buffer space available
e      NotReporting   the agent has not renewed its NodeHeartbeat
`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := Of(tc.follower, tc.nodes)
			if r.Done() != tc.done {
				t.Errorf("done: %v", r.Done())
			}
			var got bytes.Buffer
			if err := r.Print(&got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
