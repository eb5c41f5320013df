// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// podScript runs a shell in a Pod's namespaces, on the files of an image: their processes, mounts
// and links end with it.
const podScript = `
mount --make-rprivate /
mkdir -p "$1/proc" "$1/dev"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
hostname pod-1
ip link set lo up
exec timeout 120 chroot "$1" /bin/sh -ec "$2"`

func inPod(t *testing.T, root, script string, environment ...string) string {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "/bin/sh", "-ec", podScript, "sh", root, script)
	cmd.Env = append(append([]string{}, labPath...), environment...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// Programs start with nothing but the image's files. Names in Debian's packages that are links
// made at installation are there, too.
func TestProgramsOfTheLab(t *testing.T) {
	needsRoot(t)
	root := unpack(t, labImageOf(t, "agnhost"))
	for script, want := range map[string]string{
		"/agnhost --help": "netexec", "/agnhost-2 --version": "version", "/coredns -version": "CoreDNS", "cat /localhost.crt": "CERTIFICATE",
		"dig -v 2>&1": "DiG", "nslookup -version": "nslookup", "curl --version": "libcurl", "wget --version": "GNU Wget",
		"nc -h 2>&1": "OpenBSD netcat", "netcat -h 2>&1": "usage", "ip -o -4 address show lo": "127.0.0.1", "ss -ltn": "LISTEN|State",
		"ping -c 1 127.0.0.1": "1 received", "ping -c 1 ::1": "1 received", "hostname": "pod-1", "ps -ef": "ps -ef",
		"getent services http/tcp": "80/tcp", "getent protocols tcp": "6", "getent group group-defined-in-image": "50000",
		"bash -c 'echo ${BASH_VERSION}'": "5.", "/usr/bin/env echo env": "env", "/bin/sh -c 'echo sh'": "sh", "seq 3 | awk '{n += $1} END {print n}'": "6",
		"echo abc | sed s/b/x/ | grep axc": "axc", "find /etc -name nsswitch.conf": "/etc/nsswitch.conf", "tar -cf - etc | tar -tf -": "etc/passwd",
		"which conntrack": "/usr/sbin/conntrack", "conntrack --version": "conntrack v", "nft list ruleset; nft --version": "nftables v",
		"iptables -t nat -L": "POSTROUTING", "ip6tables-save --version": "nf_tables", "sysctl net.ipv4.ip_forward": "ip_forward",
		"dd if=/dev/zero of=/tmp/file bs=1k count=1 2>&1": "1024 bytes", "stdbuf -o0 echo buffer": "buffer", "mktemp": "/tmp/", "id": "root",
	} {
		found := false
		out := inPod(t, root, script)
		for w := range strings.SplitSeq(want, "|") {
			found = found || strings.Contains(out, w)
		}
		if !found {
			t.Errorf("%s prints %q, without %q", script, out, want)
		}
	}
}

// Clients and servers of the image reach each other, by the names of /etc/hosts.
func TestAgnhostServes(t *testing.T) {
	needsRoot(t)
	root := unpack(t, labImageOf(t, "agnhost"))
	out := inPod(t, root, `echo "127.0.0.1 server" >/etc/hosts
/agnhost netexec --http-port=8080 --udp-port=8081 >/dev/null 2>&1 &
until curl -s -o /dev/null http://server:8080/; do sleep 0.1; done
curl -s http://server:8080/hostname; echo
wget -T 5 -qO- http://server:8080/hostname; echo
echo hostname | nc -w 1 -u 127.0.0.1 8081; echo`)
	if want := "pod-1\npod-1\npod-1\n"; out != want {
		t.Errorf("answers %q and not %q", out, want)
	}
}

// The page has the name of the Pod, unless a volume has another one.
func TestNginxOfTheLab(t *testing.T) {
	needsRoot(t)
	i := labImageOf(t, "nginx")
	start := strings.Join(i.config.Config.Entrypoint, " ") + ` nginx -g "daemon off;" >/tmp/log 2>&1 &
until curl -s -o /tmp/page http://[::1]/; do sleep 0.1; done
curl -s http://127.0.0.1/; nginx -v 2>/tmp/version; grep -c nginx/1 /tmp/version; grep -c curl/ /tmp/log`
	if diff := cmp.Diff([]string{"/docker-entrypoint.sh"}, i.config.Config.Entrypoint); diff != "" {
		t.Fatalf("entrypoint (-want +got):\n%s", diff)
	}
	for name, test := range map[string]struct {
		before, variable, want string
	}{
		"by the host name":      {want: "Welcome to nginx! pod=pod-1\n"},
		"by the variable":       {variable: "POD_NAME=web-0", want: "Welcome to nginx! pod=web-0\n"},
		"a page of a volume":    {before: "mount", want: "a volume\n"},
		"a file of a configmap": {before: "file", want: "a file\n"},
	} {
		t.Run(name, func(t *testing.T) {
			root := unpack(t, i)
			html := filepath.Join(root, "usr/share/nginx/html")
			volume := t.TempDir()
			if err := os.Chmod(volume, 0o755); err != nil {
				t.Fatal(err)
			}
			page := filepath.Join(volume, "index.html")
			mounts := [][]string{}
			switch test.before {
			case "mount":
				mounts = append(mounts, []string{volume, html})
			case "file":
				mounts = append(mounts, []string{page, filepath.Join(html, "index.html")})
				if err := os.WriteFile(filepath.Join(html, "index.html"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(page, []byte(test.want), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, m := range mounts {
				if err := syscall.Mount(m[0], m[1], "", syscall.MS_BIND, ""); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = syscall.Unmount(m[1], syscall.MNT_DETACH) })
			}
			out := inPod(t, root, start, test.variable)
			if page, _, _ := strings.Cut(out, "\n"); page+"\n" != test.want || strings.Contains(out, "\n0\n") {
				t.Errorf("answers %q and not %q", out, test.want)
			}
		})
	}
}

// As the first process of a Pod pause reaps what others leave behind, and ends when it is asked.
func TestPause(t *testing.T) {
	needsRoot(t)
	i := labImageOf(t, "pause")
	cmd := exec.Command(i.config.Config.Entrypoint[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: unpack(t, i), Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	pid := fmt.Sprint(cmd.Process.Pid)
	if out, err := exec.Command("nsenter", "--target", pid, "--pid", "sh", "-c", "sleep 0.2 >/dev/null 2>&1 &").CombinedOutput(); err != nil {
		t.Fatalf("nsenter: %v: %s", err, out)
	}
	children := func() string { // sleep has no other parent
		list, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(list))
	}
	if children() == "" {
		t.Fatal("the process without a parent is no child of pause")
	}
	for deadline := time.Now().Add(10 * time.Second); children() != ""; {
		if time.Now().After(deadline) {
			t.Fatalf("the processes %s are not reaped", children())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ends with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("does not end")
	}
}
