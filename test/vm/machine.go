// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	qemu      = "qemu-system-x86_64"
	virtiofsd = "/usr/lib/qemu/virtiofsd"
	// memory is what the guest may use; the host gives it page by page.
	memory = "3G"
)

// machine is a running VM.
type machine struct {
	control *os.File // the guest's init
	console *tail    // what the kernel prints
	qemu    *tail    // what QEMU prints
	share   *tail    // what virtiofsd prints
	ended   sync.WaitGroup
	kill    context.CancelFunc
}

// boot starts the processes of a VM.
func boot(ctx context.Context, k Kernel, a Accelerator, tap *os.File) (m *machine, err error) {
	ctx, kill := context.WithCancel(ctx)
	m = &machine{console: &tail{}, qemu: &tail{}, share: &tail{}, kill: kill}
	defer func() {
		if err != nil {
			m.end()
		}
	}()
	content, err := initramfs(k)
	if err != nil {
		return nil, err
	}
	var files fileSet
	defer files.close() // the processes have their own
	image := files.memory("initramfs", content)
	control, console := files.socketPair(), files.socketPair()
	server, client := files.listener()
	if files.err != nil {
		return nil, fmt.Errorf("start a VM: %w", files.err)
	}
	m.control = files.keep(control[0])
	fromConsole := files.keep(console[0])

	// Without cache=always the guest would read programs again whenever they start,
	// which takes five times as long.
	share := []string{"--fd=3", "-f", "-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always", "-o", "log_level=warn"}
	if err := m.start(ctx, virtiofsd, share, []*os.File{server}, m.share, readOnlyRoot); err != nil {
		return nil, err
	}
	passed := []*os.File{control[1], console[1], client, image}
	args := qemuArgs(k, a)
	if tap != nil {
		passed = append(passed, tap)
		args = append(args, "-netdev", "tap,id=net,fd=7", "-device", "virtio-net-pci,netdev=net")
	}
	if err := m.start(ctx, qemu, args, passed, m.qemu, nil); err != nil {
		return nil, err
	}
	m.ended.Go(func() {
		defer fromConsole.Close()
		io.Copy(m.console, fromConsole) //nolint:errcheck // ends with QEMU
	})
	return m, nil
}

// qemuArgs knows the files that boot passes: 3 control, 4 console, 5 the host's
// root, 6 the initramfs; 7 may be a tap device.
func qemuArgs(k Kernel, a Accelerator) []string {
	args := []string{
		"-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		"-smp", fmt.Sprint(processors()), "-m", memory,
		// virtiofsd reads and writes the guest's memory.
		"-machine", "q35,memory-backend=memory", "-object", "memory-backend-memfd,id=memory,share=on,size=" + memory,
		"-kernel", k.image(), "-initrd", "/proc/self/fd/6",
		// A kernel in doubt ends at once; its complaints, not its steps, are printed.
		"-append", "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off tsc=reliable rcupdate.rcu_expedited=1" + a.clock(),
		"-chardev", "socket,id=console,fd=4", "-serial", "chardev:console",
		"-chardev", "socket,id=control,fd=3", "-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=control,name=" + controlPort,
		"-chardev", "socket,id=root,fd=5", "-device", "vhost-user-fs-pci,chardev=root,tag=" + shareTag,
	}
	return append(args, a.args()...)
}

// start starts a process that dies with this one. Before that, prepare changes what
// belongs to the thread that starts it.
func (m *machine) start(ctx context.Context, program string, args []string, files []*os.File, output *tail, prepare func() error) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.ExtraFiles = files
	cmd.Stdout, cmd.Stderr = output, output
	// In a group of its own: it is for this process to say what Ctrl-C means.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	m.ended.Go(func() {
		runtime.LockOSThread() // never unlocked: the death of this thread would be the process's
		var err error
		if prepare != nil {
			err = prepare()
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			if err := cmd.Wait(); ctx.Err() == nil {
				fmt.Fprintf(output, "%s has ended: %v\n", program, err)
			}
		}
	})
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return nil
}

// end ends all processes, and returns when they are gone.
func (m *machine) end() {
	m.kill()
	m.ended.Wait()
	if m.control != nil {
		m.control.Close()
	}
}

// story is the last output of the console, to find the cause of a failure.
func (m *machine) story() error {
	var b strings.Builder
	for _, part := range []struct {
		name string
		*tail
	}{{"virtiofsd", m.share}, {"QEMU", m.qemu}, {"the console", m.console}} {
		if text := part.String(); text != "" {
			fmt.Fprintf(&b, "--- last lines of %s:\n%s\n", part.name, text)
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return errors.New(strings.TrimSuffix(b.String(), "\n"))
}

// readOnlyRoot gives this thread mounts of its own, all of them read-only: whatever
// the guest may try.
func readOnlyRoot() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &attributes); err != nil {
		return fmt.Errorf("read-only mounts: %w", err)
	}
	return nil
}

// fileSet makes files to be passed to processes. It remembers the first error.
type fileSet struct {
	open []*os.File
	err  error
}

func (s *fileSet) add(fd int, name string) *os.File {
	f := os.NewFile(uintptr(fd), name)
	s.open = append(s.open, f)
	return f
}

func (s *fileSet) memory(name string, content []byte) *os.File {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		s.err = errors.Join(s.err, err)
		return nil
	}
	f := s.add(fd, name)
	_, err = f.Write(content)
	s.err = errors.Join(s.err, err)
	return f
}

func (s *fileSet) socketPair() (pair [2]*os.File) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		s.err = errors.Join(s.err, err)
		return pair
	}
	return [2]*os.File{s.add(fds[0], "socket"), s.add(fds[1], "socket")}
}

// listener returns a listening socket, which virtiofsd wants, and one that is
// connected to it.
func (s *fileSet) listener() (server, client *os.File) {
	file := func(c interface{ File() (*os.File, error) }) *os.File {
		f, err := c.File()
		s.err = errors.Join(s.err, err)
		s.open = append(s.open, f)
		return f
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{}) // the kernel gives it an abstract name
	if err != nil {
		s.err = errors.Join(s.err, err)
		return nil, nil
	}
	defer listener.Close()
	conn, err := net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr))
	if err != nil {
		s.err = errors.Join(s.err, err)
		return nil, nil
	}
	defer conn.Close()
	return file(listener), file(conn)
}

// keep takes a file out of what is closed.
func (s *fileSet) keep(f *os.File) *os.File {
	for i := range s.open {
		if s.open[i] == f {
			s.open[i] = nil
		}
	}
	return f
}

func (s *fileSet) close() {
	for _, f := range s.open {
		if f != nil {
			f.Close()
		}
	}
}
