// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// JoinFirst joins the first n of some errors, by the names of what they are about.
func JoinFirst[K comparable](n int, byKey map[K]error, name func(K) string) error {
	keys := slices.SortedFunc(maps.Keys(byKey), func(a, b K) int { return strings.Compare(name(a), name(b)) })
	var errs []error
	for i, key := range keys {
		if i == n {
			errs = append(errs, errors.New("and others"))
			break
		}
		errs = append(errs, byKey[key])
	}
	return errors.Join(errs...)
}

// itself is the name of what is known by a name.
func itself(name string) string { return name }
