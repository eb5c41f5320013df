// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TerminalSize is the size of a terminal, in characters.
type TerminalSize struct{ Width, Height uint16 }

// drainTime bounds the wait for output that processes left behind by a command
// may still write.
const drainTime = 2 * time.Second

// plumbing copies between the caller's streams and a child's descriptors. The
// package does this itself, because os/exec waits for the input's end, which
// for a remote client comes only after our answer.
type plumbing struct {
	child  []io.Closer // the child's ends: closed here once it runs
	ours   []io.Closer
	copies sync.WaitGroup

	mu  sync.Mutex
	err error
}

// connect gives cmd its standard streams: pipes, or one terminal for all.
func connect(cmd *exec.Cmd, streams Streams) (*plumbing, error) {
	p := &plumbing{}
	var err error
	if streams.Resize != nil {
		err = p.terminal(cmd, streams)
	} else {
		err = p.pipes(cmd, streams)
	}
	if err != nil {
		p.started()
		p.abandon()
		return nil, err
	}
	return p, nil
}

func (p *plumbing) pipes(cmd *exec.Cmd, streams Streams) error {
	if streams.In != nil {
		read, write, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make a pipe: %w", err)
		}
		cmd.Stdin = read
		p.child, p.ours = append(p.child, read), append(p.ours, write)
		go func() {
			// Its end is the input's end; a command that stops reading is its right.
			_, _ = io.Copy(write, streams.In)
			_ = write.Close()
		}()
	}
	for _, output := range []struct {
		to   io.Writer
		into *io.Writer
	}{{streams.Out, &cmd.Stdout}, {streams.Err, &cmd.Stderr}} {
		if output.to == nil {
			continue
		}
		read, write, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make a pipe: %w", err)
		}
		*output.into = write
		p.child, p.ours = append(p.child, write), append(p.ours, read)
		p.copy(output.to, read)
	}
	return nil
}

func (p *plumbing) copy(to io.Writer, from io.Reader) {
	p.copies.Go(func() {
		_, err := io.Copy(to, from)
		// A terminal ends with EIO, a stream that drain closed with ErrClosed.
		if err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, os.ErrClosed) {
			p.mu.Lock()
			p.err = errors.Join(p.err, err)
			p.mu.Unlock()
		}
	})
}

func (p *plumbing) terminal(cmd *exec.Cmd, streams Streams) error {
	master, slave, err := openTerminal()
	if err != nil {
		return err
	}
	p.child, p.ours = append(p.child, slave), append(p.ours, master)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	go func() {
		for size := range streams.Resize {
			// The command may have ended; its terminal's size matters no more.
			_ = control(master, func(fd int) error {
				return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: size.Width, Row: size.Height})
			})
		}
	}()
	if streams.In != nil {
		go func() { _, _ = io.Copy(master, streams.In) }()
	}
	if streams.Out != nil {
		p.copy(streams.Out, master)
	}
	return nil
}

// started closes the child's ends.
func (p *plumbing) started() { closeAll(p.child) }

// abandon ends the copying at once.
func (p *plumbing) abandon() { closeAll(p.ours) }

// drain waits for the rest of the output and ends the copying.
func (p *plumbing) drain(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		p.copies.Wait()
		close(ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		// Not waited for: the caller's writer may be stuck.
	}
	closeAll(p.ours)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// closeAll closes pipes and terminals; closing one twice is harmless.
func closeAll(closers []io.Closer) {
	for _, c := range closers {
		_ = c.Close()
	}
}

// openTerminal makes a pseudo-terminal of the host's.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	var number int
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a terminal: %w", err), master.Close())
	}
	return master, slave, nil
}

// control runs an ioctl without making the descriptor blocking, as Fd would.
func control(file *os.File, ioctl func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = ioctl(int(fd)) }); err != nil {
		return err
	}
	return inner
}
