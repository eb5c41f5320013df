// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// FuzzResolve resolves slices that the controller would never write: there is no panic,
// and no frontend that a dataplane could not program.
func FuzzResolve(f *testing.F) {
	for i, s := range Seeds {
		f.Add([]byte(s), FrontendTexts[i])
		f.Add([]byte(s+s), EndpointTexts[len(EndpointTexts)-1-i])
		f.Add([]byte(s+s+s), SourceTexts[i])
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		r := Steered(data)
		var parts []*v1alpha1.ServiceRuleSliceSpec
		for i := range r.IntN(4) {
			parts = append(parts, r.OddSpec(text))
			parts[i].Digest = strconv.Itoa(i) // decides between parts of the same number
		}
		id := r.ID()
		node := r.Node()
		node.Spec.Node.Addresses = append(node.Spec.Node.Addresses, text)
		node.Spec.LocalTraffic.ClusterCIDRs = append(node.Spec.LocalTraffic.ClusterCIDRs, text)
		resolved, err := resolve.Service(node, id, parts)
		CheckResult(t, id, resolved)
		Shuffle(r, parts)
		again, errAgain := resolve.Service(node, id, parts)
		if diff := cmp.Diff(resolved, again, ByValue); diff != "" || (err == nil) != (errAgain == nil) {
			t.Errorf("errors %v and %v, depends on the order of parts:\n%s", err, errAgain, diff)
		}
		table := resolve.NewTable()
		table.Set(id, resolved)
		d := table.Flush()
		shadow := model.NewDesired()
		if d.Apply(&shadow); !cmp.Equal(table.Desired(), shadow, ByValue) {
			t.Error("the delta does not make the table")
		}
		_, _ = resolve.Settings(node.Spec) // no panic; the error names the odd CIDR
	})
}
