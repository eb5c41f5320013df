// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// archive writes files into a compressed tar, one after the other. A file is first written to the disk,
// because a tar has the size of a file before its content: so no file is in memory as a whole.
type archive struct {
	compressed *gzip.Writer
	out        *tar.Writer
	spool      *os.File
	// index and faults are the lines of index.txt and errors.txt.
	index, faults []string
	// written is the size of all files, uncompressed.
	written int64
}

func newArchive(to io.Writer) (*archive, error) {
	spool, err := os.CreateTemp("", "fairlead-bundle-")
	if err != nil {
		return nil, fmt.Errorf("create a temporary file: %w", err)
	}
	// It has no name from now on: nothing is left of it, however the program ends.
	if err := os.Remove(spool.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("remove the temporary file's name: %w", err), spool.Close())
	}
	compressed := gzip.NewWriter(to)
	return &archive{compressed: compressed, out: tar.NewWriter(compressed), spool: spool}, nil
}

// fault notes that a part could not be read.
func (a *archive) fault(name string, err error) {
	a.faults = append(a.faults, name+": "+strings.Join(strings.Fields(redact(err.Error())), " "))
}

// add writes a file. An error of write is noted, and what it has written before is kept. The error that
// add returns is one of the archive itself, or that ctx has ended.
func (a *archive) add(ctx context.Context, name, about string, write func(context.Context, io.Writer) error) error {
	if err := a.spool.Truncate(0); err != nil {
		return fmt.Errorf("empty the temporary file: %w", err)
	}
	if _, err := a.spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind the temporary file: %w", err)
	}
	lines := &redactor{to: a.spool}
	bounded, stop := context.WithTimeout(ctx, partTimeout)
	defer stop()
	err := write(bounded, lines)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && lines.err == nil {
		a.fault(name, err)
	}
	if err := lines.end(); err != nil {
		return fmt.Errorf("write to the temporary file: %w", err)
	}
	if err != nil && lines.size == 0 {
		return nil
	}
	a.index = append(a.index, name+"\t"+about)
	a.written += lines.size
	if _, err := a.spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind the temporary file: %w", err)
	}
	// Without a time: the same cluster gives the same archive.
	if err := a.out.WriteHeader(&tar.Header{Name: folder + name, Mode: 0o644, Size: lines.size, Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := io.Copy(a.out, a.spool); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// close writes what each file is and what is missing, and ends the archive.
func (a *archive) close(ctx context.Context) error {
	slices.Sort(a.faults)
	if len(a.faults) > 0 {
		err := a.add(ctx, "errors.txt", "what could not be read, and why", func(_ context.Context, w io.Writer) error {
			return writeLines(w, a.faults)
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(a.index)
	err := a.add(ctx, "index.txt", "", func(_ context.Context, w io.Writer) error { return writeIndex(w, a.index) })
	for _, c := range []io.Closer{a.out, a.compressed} {
		if e := c.Close(); e != nil && err == nil {
			err = fmt.Errorf("end the archive: %w", e)
		}
	}
	return err
}
