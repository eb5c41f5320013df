// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// Lock is held by the process that may change the lab: first by the command that
// starts it, then by its supervisor, which inherits the open file. The kernel
// lets go of it when the holder dies, however that happens.
type Lock struct {
	// File carries the lock; pass it to a child to hand the lock over.
	File *os.File
}

// HeldError is returned when another process has the lock.
type HeldError struct {
	// PID is the holder's process ID, 0 if it has not been written yet.
	PID int
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("a lab is running already (process %d): stop it with `lab down`", e.PID)
}

// TryLock takes the lock of a lab, or returns a HeldError.
func TryLock(config Config) (*Lock, error) {
	if err := config.makeDirs(); err != nil {
		return nil, err
	}
	path := filepath.Join(config.Dir, lockName)
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			// `lab down` has just removed the directory.
			if err := config.makeDirs(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		lock, again, err := take(file, path)
		if !again {
			return lock, err
		}
	}
}

// take locks the open file. It must be retried if the file was removed before:
// otherwise other processes would not see the lock.
func take(file *os.File, path string) (lock *Lock, again bool, err error) {
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer file.Close()
		content, err := io.ReadAll(file)
		if err != nil {
			return nil, false, fmt.Errorf("lock: %w", err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil {
			pid = 0 // locked, but the PID is not written yet
		}
		return nil, false, &HeldError{PID: pid}
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("lock: %w", err), file.Close())
	}
	mine, err := file.Stat()
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("lock: %w", err), file.Close())
	}
	current, err := os.Stat(path)
	if err != nil || !os.SameFile(mine, current) {
		return nil, true, file.Close()
	}
	lock = &Lock{File: file}
	return lock, false, lock.Sign()
}

// Sign writes the caller's process id into the lock.
func (l *Lock) Sign() error {
	if err := l.File.Truncate(0); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if _, err := l.File.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// Release lets go of the lock. Who inherited the file still holds it.
func (l *Lock) Release() error { return l.File.Close() }

// Holder is the process that has the lock of a lab, 0 if it is not locked.
func Holder(config Config) (int, error) {
	if _, err := os.Stat(config.Dir); errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	lock, err := TryLock(config)
	var held *HeldError
	if errors.As(err, &held) {
		return held.PID, nil
	}
	if err != nil {
		return 0, err
	}
	return 0, lock.Release()
}
