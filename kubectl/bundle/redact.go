// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"io"
	"regexp"
	"strings"
)

// redacted stands for what looks like a credential.
const redacted = "REDACTED"

// credentials are what tokens and passwords look like in logs and messages. The objects are chosen field by field
// and have none; this is for what programs print. hint is in each text that the pattern matches, in lower case:
// most lines have none, and regular expressions are slow.
var credentials = []struct {
	hint    string
	pattern *regexp.Regexp
	to      string
}{
	{"eyj", regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)?`), redacted},
	{"authorization", regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*["'\[]*\w+\s+)[^\s"'\]]+`), "${1}" + redacted},
	{"bearer", regexp.MustCompile(`(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{16,}`), "${1}" + redacted},
	{"password", assigned(`password`), "${1}" + redacted},
	{"passwd", assigned(`passwd`), "${1}" + redacted},
	{"secret", assigned(`secret(?:[_-]?key)?`), "${1}" + redacted},
	{"token", assigned(`token`), "${1}" + redacted},
	{"key", assigned(`(?:api|access)[_-]?key`), "${1}" + redacted},
	{"://", regexp.MustCompile(`(://[^\s/:@]+:)[^\s/@]+@`), "${1}" + redacted + "@"},
}

// assigned matches a value under a name, as in JSON, YAML, arguments and logs.
func assigned(name string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)(` + name + `["']?\s*[:=]\s*["']?)[^\s"',}]+`)
}

func redact(text string) string {
	lower := strings.ToLower(text)
	for _, c := range credentials {
		if strings.Contains(lower, c.hint) {
			text = c.pattern.ReplaceAllString(text, c.to)
		}
	}
	return text
}

// longestLine is what is kept of a line, so that one without an end needs no memory.
const longestLine = 64 << 10

// redactor passes lines on without what looks like a credential.
type redactor struct {
	to   io.Writer
	size int64
	err  error // of the Writer

	line    []byte
	cut     bool // the rest of the line is left out
	private bool // within a private key
}

func (r *redactor) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 && r.err == nil {
		part, rest, ended := bytes.Cut(data, []byte("\n"))
		if room := longestLine - len(r.line); len(part) > room {
			part, r.cut = part[:room], true
		}
		r.line = append(r.line, part...)
		if data = rest; ended {
			r.flush("\n")
		}
	}
	return n, r.err
}

// flush passes the line on.
func (r *redactor) flush(end string) {
	text := string(r.line)
	if r.cut {
		text += "..."
	}
	r.line, r.cut = r.line[:0], false
	begins := strings.Contains(text, "-----BEGIN") && strings.Contains(text, "PRIVATE KEY-----")
	if begins {
		text = redacted
	}
	if within := r.private; within || begins {
		r.private = !strings.Contains(text, "-----END")
		if within {
			return
		}
	}
	n, err := io.WriteString(r.to, redact(text)+end)
	r.size, r.err = r.size+int64(n), err
}

// end passes on a last line that has no end.
func (r *redactor) end() error {
	if len(r.line) > 0 && r.err == nil {
		r.flush("")
	}
	return r.err
}
