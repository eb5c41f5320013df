// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadReport(t *testing.T) {
	for name, tc := range map[string]struct {
		cases string
		want  []Case
	}{
		"passed": {
			`<testcase name="[It] [sig-network] Services should work [Conformance]" status="passed" time="3.5"></testcase>`,
			[]Case{{Name: "[sig-network] Services should work [Conformance]", Outcome: Passed}},
		},
		"failed": {
			"<testcase name=\"[It] [sig-network] DNS should work\" status=\"failed\"><failure type=\"failed\">[FAILED]\n  no &lt;answer&gt;\nIn [It] at: x.go:1</failure></testcase>",
			[]Case{{Name: "[sig-network] DNS should work", Outcome: Failed, Message: "no <answer>"}},
		},
		"failed, with its state in the line": {
			`<testcase name="[It] [sig-network] DNS should work" status="failed"><failure type="failed">[FAILED] no answer</failure></testcase>`,
			[]Case{{Name: "[sig-network] DNS should work", Outcome: Failed, Message: "no answer"}},
		},
		"panicked": {
			`<testcase name="[It] [sig-network] DNS should work" status="panicked"><error type="panicked">nil map</error></testcase>`,
			[]Case{{Name: "[sig-network] DNS should work", Outcome: Failed, Message: "nil map"}},
		},
		"interrupted without a text": {
			`<testcase name="[It] [sig-network] DNS should work" status="interrupted"></testcase>`,
			[]Case{{Name: "[sig-network] DNS should work", Outcome: Failed, Message: "interrupted"}},
		},
		"skipped itself": {
			`<testcase name="[It] [sig-network] KubeProxy should work" status="skipped"><skipped message="skipped - needs iptables"></skipped></testcase>`,
			[]Case{{Name: "[sig-network] KubeProxy should work", Outcome: Skipped, Message: "needs iptables"}},
		},
		"not selected": {
			`<testcase name="[It] [sig-network] Services should work" status="skipped"><skipped message="skipped"></skipped></testcase>`,
			[]Case{{Name: "[sig-network] Services should work", Outcome: NotSelected}},
		},
		"of another group": {
			`<testcase name="[It] [sig-node] Pods should run" status="failed"><failure>no</failure></testcase>`,
			nil,
		},
		"preparation of the suite": {
			`<testcase name="[SynchronizedBeforeSuite]" status="passed"></testcase>` +
				`<testcase name="[ReportAfterSuite] Kubernetes e2e suite report" status="failed"><failure>disk full</failure></testcase>`,
			[]Case{{Name: "[ReportAfterSuite] Kubernetes e2e suite report", Outcome: Failed, Message: "disk full"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			report := `<?xml version="1.0" encoding="UTF-8"?><testsuites><testsuite><properties/>` + tc.cases + `</testsuite></testsuites>`
			got, err := ReadReport(strings.NewReader(report))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadReportOfATornFile(t *testing.T) {
	if _, err := ReadReport(strings.NewReader(`<testsuites><testsuite><testcase name="[It]`)); err == nil {
		t.Error("no error")
	}
}
