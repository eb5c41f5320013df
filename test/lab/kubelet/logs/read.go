// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// pollInterval is how often a followed log is looked at.
const pollInterval = 50 * time.Millisecond

// Options choose what of a log is read.
type Options struct {
	// Follow waits for more until the container has ended.
	Follow bool
	// Tail is the number of last lines wanted; negative means all.
	Tail int64
	// Since leaves out what is older.
	Since time.Time
	// Timestamps prefixes each line with its time.
	Timestamps bool
	// Limit ends the output after so many bytes; 0 means no limit.
	Limit int64
}

// errLimit ends reading when Options.Limit is reached.
var errLimit = errors.New("limit reached")

// Read copies the chosen lines of the log to the writer. ended is closed when
// nothing more will be written to the log.
func Read(ctx context.Context, path string, options Options, ended <-chan struct{}, to io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer file.Close()
	if err := skip(file, options.Tail); err != nil {
		return err
	}
	reader := bufio.NewReader(file)
	var entry []byte
	for written := int64(0); ; {
		last := isClosed(ended)
		part, err := reader.ReadBytes('\n')
		entry = append(entry, part...)
		if err == nil {
			text := options.render(entry)
			entry = entry[:0]
			if err := writeLimited(to, text, options.Limit, &written); errors.Is(err, errLimit) {
				return nil
			} else if err != nil {
				return fmt.Errorf("send the log: %w", err)
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the log: %w", err)
		}
		if !options.Follow || last {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollInterval):
		}
	}
}

func writeLimited(to io.Writer, text []byte, limit int64, written *int64) error {
	if limit > 0 && *written+int64(len(text)) >= limit {
		if _, err := to.Write(text[:limit-*written]); err != nil {
			return err
		}
		return errLimit
	}
	n, err := to.Write(text)
	*written += int64(n)
	return err
}

// render turns a log entry into what the reader gets; nothing if it is too old
// or damaged.
func (o Options) render(entry []byte) []byte {
	fields := bytes.SplitN(entry, []byte(" "), 4)
	if len(fields) != 4 {
		return nil
	}
	at, err := time.Parse(timeFormat, string(fields[0]))
	if err != nil || at.Before(o.Since) {
		return nil
	}
	text := fields[3]
	if string(fields[2]) == "P" {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	if o.Timestamps {
		return fmt.Appendf(nil, "%s %s", fields[0], text)
	}
	return text
}

// skip moves the file to the start of its last tail entries.
func skip(file *os.File, tail int64) error {
	if tail < 0 {
		return nil
	}
	var starts []int64 // of the last tail entries
	reader := bufio.NewReader(file)
	offset := int64(0)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		starts = append(starts, offset)
		if int64(len(starts)) > tail {
			starts = starts[1:]
		}
		offset += int64(len(line))
	}
	if len(starts) > 0 {
		offset = starts[0]
	}
	_, err := file.Seek(offset, io.SeekStart)
	return err
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// Tail returns the last lines of a complete log, up to limit bytes.
func Tail(path string, limit int) ([]byte, error) {
	ended := make(chan struct{})
	close(ended)
	var text bytes.Buffer
	if err := Read(context.Background(), path, Options{Tail: 80}, ended, &text); err != nil {
		return nil, err
	}
	return text.Bytes()[max(0, text.Len()-limit):], nil
}
