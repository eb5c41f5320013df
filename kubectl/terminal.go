// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// isTerminal says whether a person reads what is written to it.
func isTerminal(to io.Writer) bool {
	f, isFile := to.(*os.File)
	return isFile && term.IsTerminal(int(f.Fd()))
}

// colored returns a Writer that colours what passes and what fails if to is a terminal, unless its user wants
// no colours (https://no-color.org) or it has none.
func colored(to io.Writer) io.Writer {
	if !isTerminal(to) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return to
	}
	return painter{to}
}

// painter colours the words of a report.
type painter struct{ to io.Writer }

const green, red, plain = "\033[32m", "\033[31m", "\033[0m"

var colors = strings.NewReplacer("√", green+"√"+plain, "×", red+"×"+plain, "FAILED", red+"FAILED"+plain)

// Write writes whole words only: a report ends no write within one.
func (p painter) Write(b []byte) (int, error) {
	if _, err := colors.WriteString(p.to, string(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}
