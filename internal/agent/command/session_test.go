package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/channel/exec"
)

// flood sends all the input that a host may have on its way to a process that reads
// none: a pipe's and a window.
func (c *session) flood(t *testing.T) {
	t.Helper()
	b := make([]byte, exec.MaxData)
	for range (pipeSize + exec.Window) / len(b) {
		if err := c.Write(exec.TypeStdin, b); err != nil {
			t.Fatal(err)
		}
	}
}

func heldBack(req exec.Request) exec.Request { req.Held = true; return req }

// waitUntil asks again and again, as what is waited for tells nobody.
func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come in %v", what, patience)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil && !zombie(pid) }

func zombie(pid int) bool {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	return len(f) == 0 || f[0] == "Z"
}

// A signal passes input that nobody reads.
func TestG1SignalPassesInput(t *testing.T) {
	c := open(t, heldBack(sh(`trap 'exit 9' INT; echo ready; while :; do sleep 0.01; done`)))
	c.until(t, "ready")
	c.flood(t)
	if err := c.Write(exec.TypeSignal, []byte{byte(syscall.SIGINT)}); err != nil {
		t.Fatal(err)
	}
	if got := c.end(t); got.Code != 9 {
		t.Errorf("status = %+v, want 9", got)
	}
}

// A process ends with its client, whatever input it has not read: open's cleanup
// waits for that.
func TestG1EndPassesInput(t *testing.T) {
	c := open(t, heldBack(sh("echo ready; exec sleep 1000")))
	c.until(t, "ready")
	c.flood(t)
	c.conn.Close()
}

// The guest says how much was taken, at once and then as it goes on.
func TestG1TakenIsSaid(t *testing.T) {
	c := open(t, heldBack(sh("cat > /dev/null")))
	typ, p, err := c.in.Next()
	if n, perr := exec.ParseTaken(p); err != nil || typ != exec.TypeTaken || n != 0 || perr != nil {
		t.Fatalf("the first frame is %q %q, %v; want 0 taken", typ, p, err)
	}
	const all = 16 << 20
	go func() { // ends when the process has taken it
		b := make([]byte, exec.MaxData)
		for range all / len(b) {
			c.Write(exec.TypeStdin, b)
		}
		c.Write(exec.TypeStdin, nil)
	}()
	taken := 0
	for {
		typ, p, err := c.in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if typ == exec.TypeExit {
			break
		}
		if n, err := exec.ParseTaken(p); typ == exec.TypeTaken && err == nil {
			taken += n
		}
	}
	if taken < all-exec.Window/2 || taken > all {
		t.Errorf("%d bytes were taken, want %d but for less than half of a window", taken, all)
	}
}

// When the command ends, the session does, and what it left in the background
// goes on writing.
func TestG1BackgroundLives(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	c := open(t, sh(`(i=0; while [ $i -lt 60 ]; do echo line; echo line >&2; sleep 0.02; i=$((i+1)); done; echo done > "$1") & exit 3`, mark))
	if got := c.end(t); got.Code != 3 {
		t.Errorf("status = %+v, want 3", got)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Errorf("the session waited for what is in the background")
	}
	c.conn.Close()
	waitUntil(t, "the background's end", func() bool { _, err := os.Stat(mark); return err == nil })
}

// What was written before the command's end arrives, however slowly it is read, and
// whoever holds the pipe.
func TestG1OutputBeforeTheEnd(t *testing.T) {
	c := open(t, sh(`sleep 1000 & echo $! >&2; head -c 900000 /dev/zero`))
	time.Sleep(3 * linger) // the reader is late: there is nothing to wait for
	c.end(t)
	if len(c.stdout) != 900000 {
		t.Errorf("%d bytes of output arrived, want 900000", len(c.stdout))
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(c.stderr)))
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGKILL)
}

// When the client goes first, all of its session ends, in whatever group, and what
// made a session of its own lives.
func TestG1SessionEndsWithClient(t *testing.T) {
	dir := t.TempDir()
	c := open(t, sh(`cd "$1"; set -m
sh -c 'trap "" HUP; echo $$ > group; while :; do sleep 0.01; done' &
setsid sh -c 'echo $$ > own; exec sleep 1000' &
set +m
until [ -s group ] && [ -s own ]; do sleep 0.01; done
echo ready; wait`, dir))
	c.until(t, "ready")
	pids := map[string]int{}
	for _, name := range []string{"group", "own"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if pids[name], err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			t.Fatal(err)
		}
	}
	defer syscall.Kill(pids["own"], syscall.SIGKILL)
	c.conn.Close()
	waitUntil(t, "the end of a job in a group of its own", func() bool { return !alive(pids["group"]) })
	if !alive(pids["own"]) {
		t.Error("a process in a session of its own was ended")
	}
}

// The end of input is the end on a terminal too, after an unfinished line as well.
func TestG1TerminalInputEnds(t *testing.T) {
	for _, in := range []string{"", "foo", "foo\n", "foo\nbar"} {
		t.Run(strconv.Quote(in), func(t *testing.T) {
			req := sh("cat; echo end")
			req.TTY = true
			c := open(t, req)
			if in != "" {
				if err := c.Write(exec.TypeStdin, []byte(in)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Write(exec.TypeStdin, nil); err != nil {
				t.Fatal(err)
			}
			if got := c.end(t); got != (exec.Status{Kind: exec.Exited}) || !strings.HasSuffix(string(c.stdout), "end\r\n") {
				t.Errorf("status = %+v, output %q; want 0 and an end", got, c.stdout)
			}
		})
	}
}
