// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal, and what its user sees.
func openTerminal(t *testing.T) (terminal, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, screen
}

func TestColors(t *testing.T) {
	const text, painted = "√ a × b: FAILED", "\033[32m√\033[0m a \033[31m×\033[0m b: \033[31mFAILED\033[0m"
	for name, tc := range map[string]struct {
		variable, value, format, want string
	}{
		"colours":      {"TERM", "xterm", "", painted},
		"not wanted":   {"NO_COLOR", "1", "", text},
		"no colours":   {"TERM", "dumb", "", text},
		"for programs": {"TERM", "xterm", "json", `"` + text + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NO_COLOR", "")
			t.Setenv(tc.variable, tc.value)
			terminal, screen := openTerminal(t)
			out := output{format: tc.format}
			if err := out.print(terminal, text, func(w io.Writer) error { _, err := io.WriteString(w, text+"\n"); return err }); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(tc.want))
			if _, err := io.ReadFull(screen, got); err != nil || string(got) != tc.want {
				t.Errorf("shown %q, want %q, error %v", got, tc.want, err)
			}
		})
	}
	var file bytes.Buffer
	if _, err := io.WriteString(colored(&file), text); err != nil || file.String() != text {
		t.Errorf("not on a terminal: %q, %v", file.String(), err)
	}
}
