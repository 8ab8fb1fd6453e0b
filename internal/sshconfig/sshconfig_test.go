package sshconfig

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"banger/internal/hint"
)

const line = `Include "/home/u/.local/state/banger/ssh/config"`

// Install and Uninstall leave any text as it was.
func FuzzAddRemove(f *testing.F) {
	for _, text := range []string{"", "\n", "Host *\n  Port 7\n", "Host *", "Host a\r\n\tUser b\r\n", "\xef\xbb\xbfHost *\n", "\x00\xff", marks[0] + "\n" + line + "\n", marks[1], marks[2] + "\r\n" + line + "\r\nHost *\r\n",
		marks[0] + "\n\nInclude \"x\"\n", line + "\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before, _, had := remove(text)
		if !had && !bytes.Equal(before, text) {
			t.Fatalf("remove(%q) = %q, though it has no lines of banger's", text, before)
		}
		with := add(text, line, madeLines)
		if again := add(with, line, madeLines); !bytes.Equal(again, with) {
			t.Errorf("add twice = %q, want %q", again, with)
		}
		if !bytes.HasPrefix(with, []byte("# ")) || !bytes.Contains(with, []byte("\n"+line+"\n")) {
			t.Errorf("add(%q) = %q", text, with)
		}
		after, _, found := remove(with)
		if !found || !bytes.Equal(after, before) {
			t.Errorf("remove(add(%q)) = %q, %v; want %q", text, after, found, before)
		}
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestInstall(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "lines": "Host *\n  Port 7\n", "no newline": "Host a\n User b", "CRLF": "Host a\r\n User b\r\n", "bytes": "\x00\xff\r",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
			if changed, err := Install(file, line); err != nil || !changed {
				t.Fatalf("Install = %v, %v", changed, err)
			}
			installed := read(t, file)
			if want := mark + "\n" + line + "\n" + text; installed != want {
				t.Errorf("Install makes %q, want %q", installed, want)
			}
			if changed, err := Install(file, line); err != nil || changed || read(t, file) != installed {
				t.Errorf("Install again = %v, %v, and makes %q", changed, err, read(t, file))
			}
			// Another place of banger's file takes the old one's.
			other := strings.Replace(line, "/home/u", "/home/other", 1)
			if changed, err := Install(file, other); err != nil || !changed || read(t, file) != strings.Replace(installed, line, other, 1) {
				t.Errorf("Install of another line = %v, %v, and makes %q", changed, err, read(t, file))
			}
			if changed, err := Uninstall(file); err != nil || !changed || read(t, file) != text {
				t.Errorf("Uninstall = %v, %v, and makes %q, want %q", changed, err, read(t, file), text)
			}
			if changed, err := Uninstall(file); err != nil || changed {
				t.Errorf("Uninstall again = %v, %v", changed, err)
			}
			if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o640 {
				t.Errorf("the file's mode: %v, %v; want 0640", fi.Mode(), err)
			}
		})
	}
}

func TestInstallWhereNothingIs(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, ".ssh")
	file := filepath.Join(dir, "config")
	if changed, err := Uninstall(file); err != nil || changed {
		t.Errorf("Uninstall = %v, %v", changed, err)
	}
	for _, withDir := range []bool{false, true} {
		if withDir {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Install(file, line); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o600 {
			t.Errorf("the file: %v, %v; want mode 0600", fi, err)
		}
		if fi, err := os.Stat(dir); err != nil || !withDir && fi.Mode().Perm() != 0o700 {
			t.Errorf("the directory: %v, %v; want mode 0700", fi, err)
		}
		if _, err := Uninstall(file); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); (err == nil) != withDir {
			t.Errorf("after Uninstall the directory that was there before (%v): %v", withDir, err)
		}
		if _, err := os.Stat(file); err == nil {
			t.Error("after Uninstall the file is there")
		}
	}
	// What the user wrote meanwhile stays.
	if _, err := Install(file, line); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte(read(t, file)), "Host x\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Uninstall(file); err != nil || read(t, file) != "Host x\n" {
		t.Errorf("Uninstall: %v, and %q is left", err, read(t, file))
	}
}

func TestInstallThroughLink(t *testing.T) {
	dir := t.TempDir()
	file, real := filepath.Join(dir, "config"), filepath.Join(dir, "dotfiles", "ssh")
	if err := os.Symlink("dotfiles/ssh", file); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(file, line); err == nil || !strings.Contains(err.Error(), "is a link to a file that is not there") || !strings.Contains(hint.Of(err), line) {
		t.Errorf("Install through a link to nothing = %v (%s)", err, hint.Of(err))
	}
	if changed, err := Uninstall(file); err != nil || changed {
		t.Errorf("Uninstall through a link to nothing = %v, %v, want that nothing is there to be taken out", changed, err)
	}
	if err := os.Mkdir(filepath.Dir(real), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(real, []byte("Host x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(file, line); err != nil {
		t.Fatal(err)
	}
	if got := read(t, real); !strings.HasPrefix(got, mark) {
		t.Errorf("the link's file is %q", got)
	}
	if _, err := Uninstall(file); err != nil || read(t, real) != "Host x\n" {
		t.Errorf("Uninstall: %v, and %q is left", err, read(t, real))
	}
	if to, err := os.Readlink(file); err != nil || to != "dotfiles/ssh" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
}

func TestInstallRefused(t *testing.T) {
	dir := t.TempDir()
	notDir := filepath.Join(dir, "file")
	if err := os.WriteFile(notDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(notDir, "config"), filepath.Join("/proc/self", "config"), filepath.Join(dir, "none", ".ssh", "config")} {
		if _, err := Install(file, line); err == nil || !strings.Contains(hint.Of(err), line) {
			t.Errorf("Install(%s) = %v (%s), want an error that gives the line", file, err, hint.Of(err))
		}
	}
	if _, err := Uninstall(dir); err == nil || !strings.Contains(hint.Of(err), mark) {
		t.Errorf("Uninstall(%s) = %v (%s), want an error that says which lines to take out", dir, err, hint.Of(err))
	}
	if os.Getuid() == 0 {
		if err := os.Chown(notDir, 1, 1); err != nil {
			t.Skip(err)
		}
		if _, err := Install(notDir, line); err == nil {
			t.Error("Install changes another user's file")
		}
	}
}

func TestInstallAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".ssh", "config")
	for range 10 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, err := Install(file, line); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := read(t, file); strings.Count(got, line) != 1 || strings.Count(got, "\n") != 2 {
			t.Fatalf("the file is %q", got)
		}
		if _, err := Uninstall(file); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Dir(file)); err == nil {
			t.Fatal("the directory that banger made is left")
		}
	}
}

func TestLine(t *testing.T) {
	if got, err := Line("/a b/ü/config"); err != nil || got != `Include "/a b/ü/config"` {
		t.Errorf("Line = %q, %v", got, err)
	}
	for _, path := range []string{`/a"b`, "/a\nb", "/a*", "/%h", "/$HOME", `/a\b`} {
		if got, err := Line(path); err == nil {
			t.Errorf("Line(%q) = %q, want an error", path, got)
		}
		if got, err := (Config{Program: "/b", Key: path, KnownHosts: "/k"}).Text(); err == nil {
			t.Errorf("Text with the key %q = %q, want an error", path, got)
		}
	}
	if got, err := (Config{Program: "/a\nb", Key: "/k", KnownHosts: "/k"}).Text(); err == nil {
		t.Errorf("Text with a newline in the program's path = %q, want an error", got)
	}
}

// ssh itself reads the text as it is meant, through the Include, before what the user
// says for all hosts.
func TestOpenSSHReadsIt(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("ssh is not installed")
	}
	dir := filepath.Join(t.TempDir(), "a dir's")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	own, user := filepath.Join(dir, "own"), filepath.Join(dir, ".ssh", "config")
	text, err := Config{Program: "/opt/it's 100%/banger", Env: []string{"XDG_STATE_HOME=/a b"}, Key: filepath.Join(dir, "key"), KnownHosts: filepath.Join(dir, "known")}.Text()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(filepath.Dir(user), 0o700)
	const users = "Compression yes\nHost *\n ForwardAgent yes\n Port 2222\n User me\n StrictHostKeyChecking no\n ProxyJump bastion\n HostName other\n CanonicalizeHostname always\n ForwardX11 yes\n IdentityFile ~/.ssh/id_rsa\n"
	if err := os.WriteFile(user, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Line(own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Install(user, l); err != nil {
		t.Fatal(err)
	}
	ask := func(host string) map[string]string {
		t.Helper()
		out, err := exec.Command("ssh", "-G", "-F", user, host).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh -G: %v\n%s", err, out)
		}
		got := map[string]string{}
		for l := range strings.Lines(string(out)) {
			key, value, _ := strings.Cut(strings.TrimSpace(l), " ")
			if got[key] == "" {
				got[key] = value
			}
		}
		return got
	}
	got := ask("dev.vm")
	for key, want := range map[string]string{
		"hostname": "dev.vm", "canonicalizehostname": "false", "port": "22", "user": "root", "forwardagent": "no", "forwardx11": "no", "stricthostkeychecking": "true", "compression": "yes",
		"identityfile": filepath.Join(dir, "key"), "userknownhostsfile": filepath.Join(dir, "known"), "proxyjump": "", "identitiesonly": "yes",
		"proxycommand": `env 'XDG_STATE_HOME=/a b' '/opt/it'\''s 100%%/banger' ssh-proxy '%h'`,
	} {
		if got[key] != want {
			t.Errorf("ssh -G dev.vm: %s is %q, want %q", key, got[key], want)
		}
	}
	if got := ask("example.org"); got["user"] != "me" || got["port"] != "2222" || got["stricthostkeychecking"] != "false" {
		t.Errorf("ssh -G example.org has changed: %v", got)
	}
}
