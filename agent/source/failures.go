// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"sync"

	"github.com/go-logr/logr"
)

// FailureLog says once when a watch begins to fail and when it recovers.
func FailureLog(log logr.Logger, count func(what string)) func(what string, err error) {
	var mu sync.Mutex
	failing := map[string]bool{}
	return func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			count(what)
		}
		switch {
		case err != nil && !failing[what]:
			log.Error(fmt.Errorf("watch %s: %w", what, err), "Watch failed; forwarding continues with the last programmed rules")
		case err == nil && failing[what]:
			log.Info("Watch works again", "resource", what)
		}
		failing[what] = err != nil
	}
}
