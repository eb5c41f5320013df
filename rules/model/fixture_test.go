// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"

// The fixture of the cases, under short names.
var (
	addr          = rulestest.Addr
	byValue       = rulestest.ByValue
	endpoint      = rulestest.Endpoint
	endpointTexts = rulestest.EndpointTexts
	frontendTexts = rulestest.FrontendTexts
	sourceTexts   = rulestest.SourceTexts
	webID         = rulestest.WebID
)
