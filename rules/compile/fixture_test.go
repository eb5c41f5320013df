// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"

// The fixture of the cases, under short names.
type (
	random         = rulestest.Random
	serviceBuilder = rulestest.ServiceBuilder
	sliceBuilder   = rulestest.SliceBuilder
)

const (
	here  = rulestest.Here
	l1    = rulestest.L1
	r1    = rulestest.R1
	there = rulestest.There
)

var (
	addr          = rulestest.Addr
	byValue       = rulestest.ByValue
	checkResolved = rulestest.CheckResult
	endpointTexts = rulestest.EndpointTexts
	ep            = rulestest.Ep
	everySeed     = rulestest.EverySeed
	frontendTexts = rulestest.FrontendTexts
	ingress       = rulestest.Ingress
	input         = rulestest.Input
	many          = rulestest.Many
	nodeNames     = rulestest.NodeNames
	seeds         = rulestest.Seeds
	slice         = rulestest.Slice
	sourceTexts   = rulestest.SourceTexts
	specs         = rulestest.Specs
	states        = rulestest.States
	steered       = rulestest.Steered
	svc           = rulestest.Service
	thisNode      = rulestest.ThisNode
	web           = rulestest.Web
	webID         = rulestest.WebID
	webSlice      = rulestest.WebSlice
)
