// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package logs keeps what containers print, in the format that the kubelet's
// container runtimes use: one line each of time, stream, F (a full line) or P (a
// part of one), and the text. So `kubectl logs` can select by time and age.
package logs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxLine is where a long line is cut into parts.
const maxLine = 16 << 10

// timeFormat has a fixed width, which keeps the columns readable.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Write copies one stream of a container into the log until the stream ends.
// Several may write to one log: file is opened for appending, and every line is
// one write.
func Write(file *os.File, stream string, from io.Reader) error {
	reader := bufio.NewReaderSize(from, maxLine)
	for {
		line, err := reader.ReadSlice('\n')
		if len(line) > 0 {
			if err := writeLine(file, stream, line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the container's %s: %w", stream, err)
		}
	}
}

func writeLine(file *os.File, stream string, line []byte) error {
	tag := "F"
	if line[len(line)-1] != '\n' {
		tag = "P"
	}
	entry := fmt.Appendf(nil, "%s %s %s %s", time.Now().Format(timeFormat), stream, tag, line)
	if tag == "P" {
		entry = append(entry, '\n')
	}
	if _, err := file.Write(entry); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}
