// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"

// The fixture of the cases, under short names.
type (
	nodeBuilder    = rulestest.NodeBuilder
	random         = rulestest.Random
	serviceBuilder = rulestest.ServiceBuilder
	sliceBuilder   = rulestest.SliceBuilder
)

const (
	here  = rulestest.Here
	l1    = rulestest.L1
	l2    = rulestest.L2
	r1    = rulestest.R1
	r2    = rulestest.R2
	there = rulestest.There
)

var (
	addr          = rulestest.Addr
	byValue       = rulestest.ByValue
	checkPorts    = rulestest.CheckPorts
	checkResolved = rulestest.CheckResult
	endpoint      = rulestest.Endpoint
	endpointTexts = rulestest.EndpointTexts
	ep            = rulestest.Ep
	everySeed     = rulestest.EverySeed
	frontendTexts = rulestest.FrontendTexts
	ingress       = rulestest.Ingress
	input         = rulestest.Input
	many          = rulestest.Many
	nodeNames     = rulestest.NodeNames
	one           = rulestest.One
	seeds         = rulestest.Seeds
	slice         = rulestest.Slice
	sourceTexts   = rulestest.SourceTexts
	specs         = rulestest.Specs
	steered       = rulestest.Steered
	svc           = rulestest.Service
	tableOf       = rulestest.TableOf
	thisNode      = rulestest.ThisNode
	web           = rulestest.Web
	webID         = rulestest.WebID
	webSlice      = rulestest.WebSlice
	zoneNames     = rulestest.ZoneNames
)
