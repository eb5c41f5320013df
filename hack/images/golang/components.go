// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package golang

import (
	"encoding/base64"
	"encoding/hex"
	"runtime/debug"
	"strings"

	"github.com/fairlead-proxy/fairlead/hack/images/attest"
)

// Components returns the standard library and the modules of a program, as the linker wrote
// them into it.
func (p *Program) Components() []attest.Component {
	version := strings.TrimPrefix(p.Info.GoVersion, "go")
	out := []attest.Component{{Name: "stdlib", Version: version, PURL: "pkg:golang/stdlib@" + version, Licence: "BSD-3-Clause"}}
	for _, m := range p.Info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		out = append(out, component(m))
	}
	return out
}

func component(m *debug.Module) attest.Component {
	c := attest.Component{Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + m.Version}
	// The checksum of go.sum is the SHA-256 of a list of the module's files.
	if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) == 32 {
		c.DirHash = hex.EncodeToString(sum)
	}
	return c
}
