// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is an invalid or unsupported value in an object, and what to do about it.
type Problem struct {
	// Object is the kind, namespace and name, e.g. "EndpointSlice default/web-x".
	Object  string
	Message string
}

// maxProblems bounds how many problems of a Service are reported.
const maxProblems = 10

// problemList collects problems, each once.
type problemList struct {
	all  []Problem
	seen map[Problem]struct{}
}

// add adds a problem of an object. Cluster-scoped objects have no namespace.
func (l *problemList) add(kind, namespace, name, format string, args ...any) {
	if namespace != "" {
		name = namespace + "/" + name
	}
	p := Problem{Object: kind + " " + name, Message: fmt.Sprintf(format, args...)}
	if _, twice := l.seen[p]; twice {
		return
	}
	if l.seen == nil {
		l.seen = map[Problem]struct{}{}
	}
	l.seen[p] = struct{}{}
	l.all = append(l.all, p)
}

func (l *problemList) sorted() []Problem {
	slices.SortFunc(l.all, func(a, b Problem) int {
		if c := strings.Compare(a.Object, b.Object); c != 0 {
			return c
		}
		return strings.Compare(a.Message, b.Message)
	})
	if more := len(l.all) - maxProblems; more > 0 {
		last := l.all[maxProblems]
		last.Message = fmt.Sprintf("%d more problems", more)
		return append(l.all[:maxProblems:maxProblems], last)
	}
	return l.all
}
