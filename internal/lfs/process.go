package lfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Sizes of a packet (git's Documentation/gitprotocol-common.txt), in bytes.
const (
	packetHead = 4
	maxPacket  = 65520 // with its head
)

// maxKeys bounds the lines before a file's content.
const maxKeys = 100

// Process answers git on in and out until in ends: one process for all files of a
// command (gitattributes(5), "Long Running Filter Process").
func (f *Filter) Process(in io.Reader, out io.Writer) error {
	c := &conn{bufio.NewReaderSize(in, maxPacket), bufio.NewWriterSize(out, maxPacket)}
	if err := c.greet(); err != nil {
		return fmt.Errorf("greet git: %w", err)
	}
	for {
		keys, err := c.lines()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := f.answer(c, keys["command"]); err != nil {
			return err
		}
	}
}

// greet agrees on the protocol and on what can be asked.
func (c *conn) greet() error {
	for _, step := range []struct{ want, say string }{
		{"git-filter-client", "git-filter-server\nversion=2"},
		{"", "capability=clean\ncapability=smudge"},
	} {
		first, err := c.packet()
		if err != nil {
			return err
		}
		if step.want != "" && strings.TrimSuffix(string(first), "\n") != step.want {
			return fmt.Errorf("it says %.40q, not %s", first, step.want)
		}
		if _, err := c.lines(); err != nil { // versions; capabilities
			return err
		}
		if err := c.say(strings.Split(step.say, "\n")...); err != nil {
			return err
		}
	}
	return nil
}

// answer does what git asks for one file: git sends the whole content before it reads
// anything of the answer. What goes wrong with one file is told, and git goes on.
func (f *Filter) answer(c *conn, command string) error {
	content := &payload{c: c}
	var pointer bytes.Buffer
	var from io.Reader = &pointer
	var err error
	switch command {
	case "clean":
		err = f.Clean(content, &pointer)
	case "smudge":
		var all io.ReadCloser
		if all, err = readAll(content); err == nil {
			defer all.Close()
			r, w := io.Pipe()
			defer r.Close()
			go func() { w.CloseWithError(f.Smudge(all, w)) }() // ends when r is read or closed
			from = r
		}
	default:
		err = fmt.Errorf("git asks for %.40q", command)
	}
	if _, derr := io.Copy(io.Discard, content); derr != nil {
		return derr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent: lfs:", err)
		return c.say("status=error")
	}
	if err := c.say("status=success"); err != nil {
		return err
	}
	buf := make([]byte, maxPacket-packetHead)
	for {
		n, err := io.ReadFull(from, buf)
		if n > 0 {
			if err := c.write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.Join(c.flush(), c.say()) // the status stays
		}
		fmt.Fprintln(os.Stderr, "banger-agent: lfs:", err)
		return errors.Join(c.flush(), c.say("status=error"))
	}
}

// readAll reads all of r, and returns it to be read again: from memory what can be a
// pointer, else from a file without a name.
func readAll(r io.Reader) (io.ReadCloser, error) {
	text, whole, err := head(r)
	if err != nil || whole {
		return io.NopCloser(bytes.NewReader(text)), err
	}
	f, err := os.CreateTemp("", "banger-lfs-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if _, err = io.Copy(f, io.MultiReader(bytes.NewReader(text), r)); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// conn reads and writes packets.
type conn struct {
	r *bufio.Reader
	w *bufio.Writer
}

// packet reads one; nil is a flush.
func (c *conn) packet() ([]byte, error) {
	var head [packetHead]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 16)
	if err != nil || n > maxPacket || n > 0 && n <= packetHead {
		return nil, fmt.Errorf("%q begins no packet", head)
	}
	if n == 0 {
		return nil, nil
	}
	text := make([]byte, n-packetHead)
	if _, err := io.ReadFull(c.r, text); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return text, nil
}

// lines reads KEY=VALUE lines up to a flush.
func (c *conn) lines() (map[string]string, error) {
	keys := map[string]string{}
	for range maxKeys {
		p, err := c.packet()
		if errors.Is(err, io.EOF) && len(keys) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil || p == nil {
			return keys, err
		}
		k, v, _ := strings.Cut(strings.TrimSuffix(string(p), "\n"), "=")
		keys[k] = v
	}
	return nil, fmt.Errorf("git says more than %d lines of a file", maxKeys)
}

func (c *conn) write(p []byte) error {
	fmt.Fprintf(c.w, "%04x", packetHead+len(p))
	_, err := c.w.Write(p)
	return err
}

// flush ends what was written, and sends it.
func (c *conn) flush() error {
	c.w.WriteString("0000")
	return c.w.Flush()
}

// say sends lines and a flush.
func (c *conn) say(lines ...string) error {
	for _, l := range lines {
		if err := c.write([]byte(l + "\n")); err != nil {
			return err
		}
	}
	return c.flush()
}

// payload reads a content up to its flush.
type payload struct {
	c    *conn
	rest []byte
	over bool
}

func (p *payload) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.over {
			return 0, io.EOF
		}
		text, err := p.c.packet()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		p.rest, p.over = text, text == nil
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
