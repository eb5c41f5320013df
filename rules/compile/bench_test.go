// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/compile"
)

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			in := input(web().NodePort(3001), many(webSlice(), n))
			b.ReportAllocs()
			for b.Loop() {
				compile.Service(in)
			}
		})
	}
}
