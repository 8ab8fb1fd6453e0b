package channel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hybridVMM stands in a VMM's place on its socket: it answers each CONNECT by
// serving the connection with do.
func hybridVMM(t *testing.T, do func(c net.Conn, port string)) (dial func(context.Context) (*net.UnixConn, error)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vsock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { // ends with the test's end of c
				defer c.Close()
				line, err := bufio.NewReader(c).ReadString('\n')
				if port, ok := strings.CutPrefix(strings.TrimSpace(line), "CONNECT "); ok && err == nil {
					do(c, port)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return func(ctx context.Context) (*net.UnixConn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		return c.(*net.UnixConn), nil
	}
}

// hybrid is a carrier on such a VMM; said says hello to it.
func hybrid(t *testing.T, do func(net.Conn, string)) (c *HybridCarrier, hellos string, heard chan struct{}) {
	t.Helper()
	hellos = filepath.Join(t.TempDir(), "vsock_1000")
	l, err := net.Listen("unix", hellos)
	if err != nil {
		t.Fatal(err)
	}
	heard = make(chan struct{})
	c = NewHybridCarrier(l, hybridVMM(t, do), func() { close(heard) })
	t.Cleanup(func() { c.Close() })
	return c, hellos, heard
}

func say(t *testing.T, path, text string) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, text) // too much of it is not taken
}

func TestHybridHello(t *testing.T) {
	c, path, heard := hybrid(t, nil)
	say(t, path, `{"protocol": 1, "agent": "a", "boot_id": "b"}`)
	for range 2 {
		if h, err := c.Hello(limited(t)); err != nil || h != (Hello{Protocol: 1, Agent: "a", BootID: "b"}) {
			t.Fatalf("Hello = %+v, %v", h, err)
		}
	}
	<-heard
	if again, err := net.Dial("unix", path); err == nil {
		again.Close()
		t.Error("a second hello is taken")
	}
}

func TestHybridHelloIsBounded(t *testing.T) {
	for _, text := range []string{"", "nonsense", strings.Repeat(" ", MaxHello) + "{}", `{"agent": "` + strings.Repeat("a", 65) + `"}`} {
		c, path, _ := hybrid(t, nil)
		say(t, path, text)
		if h, err := c.Hello(limited(t)); err == nil {
			t.Errorf("Hello of %.20q… = %+v, want an error", text, h)
		}
	}
}

func TestHybridCloseEndsHello(t *testing.T) {
	for _, connected := range []bool{false, true} {
		c, path, heard := hybrid(t, nil)
		if connected { // and silent
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		c.Close()
		<-heard
		if _, err := c.Hello(limited(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Hello of a closed carrier: %v, want an error at once", err)
		}
	}
}

func TestHybridDial(t *testing.T) {
	c, _, _ := hybrid(t, func(conn net.Conn, port string) {
		switch port {
		case "1":
			fmt.Fprint(conn, "OK 1024\nready")
			io.Copy(conn, conn)
		case "2": // nobody listens
		case "3":
			fmt.Fprint(conn, "NO\n")
		case "4":
			fmt.Fprint(conn, strings.Repeat("x", 100))
		}
	})
	s, err := c.Dial(limited(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(s, " go")
	got := make([]byte, len("ready go"))
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "ready go" {
		t.Errorf("read %q, %v; want what was said behind OK, and the echo", got, err)
	}
	for port, want := range map[uint32]string{2: "does not answer", 3: `answers "NO"`, 4: `answers "xxx`} {
		if s, err := c.Dial(limited(t), port); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Dial(%d) = %v, %v; want an error with %q", port, s, err, want)
		}
	}
	dropped, err := c.Dial(limited(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	c.Drop()
	if _, err := io.ReadAll(dropped); err == nil {
		t.Error("Read of a dropped stream ended well, want an error")
	}
	if s, err = c.Dial(limited(t), 1); err != nil {
		t.Fatalf("Dial after Drop: %v", err)
	}
	c.Close()
	if n, err := s.Read(got); err == nil {
		t.Errorf("Read of a closed carrier's stream = %d, want an error", n)
	}
	if _, err := c.Dial(limited(t), 1); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial of a closed carrier: %v, want net.ErrClosed", err)
	}
}

// A slow guest is asked again: the VMM closes what the guest does not answer in its time, as it does
// where nobody listens.
func TestHybridDialOfASlowGuest(t *testing.T) {
	t.Parallel() // it takes the VMM's time twice
	var asked atomic.Int32
	c, _, _ := hybrid(t, func(conn net.Conn, _ string) {
		if asked.Add(1) <= 2 {
			time.Sleep(requestLimit)
			return
		}
		fmt.Fprint(conn, "OK 1024\n")
	})
	s, err := c.Dial(limited(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	asked.Store(0)
	ctx, cancel := context.WithTimeout(t.Context(), requestLimit+200*time.Millisecond)
	defer cancel()
	if _, err := c.Dial(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial of a guest that is slower than the caller: %v, want that its time is over", err)
	}
}

func TestHybridDialIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	c, _, _ := hybrid(t, func(net.Conn, string) { <-release })
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := c.Dial(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial of a silent guest: %v, want it cancelled", err)
	}
}

// As many streams as on other VMMs, and the place of one that is closed is
// free, however often it is closed.
func TestHybridStreamsAreBounded(t *testing.T) {
	c, _, _ := hybrid(t, func(conn net.Conn, _ string) {
		fmt.Fprint(conn, "OK 1\n")
		io.Copy(io.Discard, conn)
	})
	var open []Stream
	for range maxStreams {
		s, err := c.Dial(limited(t), 1)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	var many TooManyError
	if _, err := c.Dial(limited(t), 1); !errors.As(err, &many) {
		t.Fatalf("Dial of one too many: %v", err)
	}
	open[0].Close()
	open[0].Close()
	if _, err := c.Dial(limited(t), 1); err != nil {
		t.Errorf("Dial in the place of a closed stream: %v", err)
	}
	if _, err := c.Dial(limited(t), 1); !errors.As(err, &many) {
		t.Errorf("Dial after a stream was closed twice: %v, want one place alone", err)
	}
}

func FuzzAsk(f *testing.F) {
	f.Add([]byte("OK 1024\n"))
	f.Add([]byte("OK "))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		a, b := net.Pipe()
		defer a.Close()
		go func() { // ends with the pipe
			defer b.Close()
			io.CopyN(io.Discard, b, int64(len("CONNECT 1\n")))
			b.Write(answer)
		}()
		if err := ask(a, 1); err == nil && !strings.HasPrefix(string(answer), "OK ") {
			t.Errorf("ask took %q for an answer", answer)
		}
	})
}

// A stream that is dropped while it is being opened gives its place back once.
func TestHybridDropsWhileItDials(t *testing.T) {
	asked := make(chan struct{})
	c, _, _ := hybrid(t, func(c net.Conn, _ string) {
		close(asked)
		io.Copy(io.Discard, c) // and never answers
	})
	done := make(chan error)
	go func() { // ends with Drop
		_, err := c.Dial(context.Background(), 7)
		done <- err
	}()
	<-asked
	c.Drop()
	select {
	case err := <-done:
		if err == nil {
			t.Error("Dial of a stream that was dropped: no error")
		}
	case <-time.After(time.Minute):
		t.Fatal("Dial of a stream that was dropped does not return")
	}
	if n := len(c.places); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}
