// Speaker takes the place of a guest's agent on the channel, as root in a guest could, and
// asks the host for what eth0 does not give. It prints a line for each answer:
//
//	speaker NAME ADDRESS
//
// NAME is a name that the policy allows, at ADDRESS, on port 80. The agent and what starts it
// again must have ended.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

// limit bounds all of it: the script that started it waits for the last line.
const limit = 10 * time.Minute

func main() {
	time.AfterFunc(limit, func() {
		fmt.Println("it takes too long")
		os.Exit(1)
	})
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: speaker NAME ADDRESS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// agent answers the host as much as it must be answered.
type agent struct{ boot string }

func (a agent) Identity(context.Context, control.Identity) (control.Ready, error) {
	return control.Ready{UptimeMillis: 1, Init: "/sbin/init", BootID: a.boot, Again: true}, nil
}
func (agent) Health(context.Context) (control.Health, error) {
	return control.Health{Init: "systemd"}, nil
}
func (agent) Sync(context.Context) error                       { return nil }
func (agent) Grow(context.Context, control.Grow) error         { return nil }
func (agent) Measure(context.Context) (control.Measure, error) { return control.Measure{}, nil }
func (agent) SetClock(context.Context, control.ClockSet) error { return nil }
func (agent) End(control.End, func(control.EndEvent)) error    { return nil }
func (agent) Clock(context.Context) (control.Clock, error) {
	now := time.Now().UnixNano()
	return control.Clock{BootNanos: now, UnixNano: now}, nil
}
func (agent) Events(ctx context.Context, each func(control.Event)) error {
	each(control.Event{})
	<-ctx.Done()
	return nil
}

func run(name, addr string) error {
	ctx := context.Background()
	guest, err := channel.OpenGuest(ctx)
	if err != nil {
		return err
	}
	controls, err := listen(guest, channel.PortControl)
	if err != nil {
		return err
	}
	carriers, err := listen(guest, channel.PortFlow)
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	a := agent{strings.TrimSpace(string(boot))}
	if err := guest.Hello(ctx, channel.Hello{Protocol: channel.Protocol, BootID: a.boot}); err != nil {
		fmt.Fprintln(os.Stderr, "say hello:", err) // on vsock nobody hears a second one
	}
	go control.Serve(controls, a) // ends with the program
	all := make(chan carrier, 100)
	go accept(carriers, all) // ends with the program
	c := <-all
	ask(c.session, name, addr)
	// What is no frame ends the carrier, and the host makes another.
	for len(all) > 0 {
		<-all
	}
	c.conn.Write(bytes.Repeat([]byte{0xff}, 64<<10))
	<-c.session.Done()
	fmt.Println("on another carrier:", connect((<-all).session, `{"kind":"connect","addr":"`+addr+`:80"}`, get(name)))
	return nil
}

// carrier is one of the host's, and what it is made of.
type carrier struct {
	session *flow.Session
	conn    net.Conn
}

// listen takes a port, which the agent may have for a moment more.
func listen(g channel.Guest, port uint32) (l net.Listener, err error) {
	for range 100 {
		if l, err = g.Listen(port); err == nil {
			return l, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, err
}

// accept takes the host's carriers, refuses what the host opens on them, and lies about who asked.
func accept(l net.Listener, all chan<- carrier) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		all <- carrier{flow.New(c, false, 0, func(f *flow.Flow) { f.Refuse(netflow.Denied, "root[1]\x1b[2J\n"+strings.Repeat("x", 900)) }), c}
	}
}

func get(host string) string {
	return "GET /x HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
}

// ask asks for one thing after the other.
func ask(s *flow.Session, name, addr string) {
	fmt.Println("dns allowed:", dns(s, name))
	fmt.Println("dns denied:", dns(s, "other.example"))
	fmt.Println("dns of nothing:", connect(s, `{"kind":"dns"}`, "\x00\x03abc"))
	fmt.Println("connect:", connect(s, `{"kind":"connect","addr":"`+addr+`:80"}`, get(name)))
	fmt.Println("connect and say another name:", connect(s, `{"kind":"connect","addr":"`+addr+`:80"}`, get("other.example")))
	for _, header := range []string{
		`{"kind":"connect","addr":"93.184.216.35:80"}`,
		`{"kind":"connect","addr":"93.184.216.35:80","from":"127.0.0.1:1"}`,
		`{"kind":"connect","addr":"10.20.30.40:80"}`,
		`{"kind":"connect","addr":"[::ffff:10.20.30.40]:80"}`,
		`{"kind":"connect","addr":"[64:ff9b::a14:1e28]:80"}`,
		`{"kind":"connect","addr":"[2002:a14:1e28::1]:80"}`,
		`{"kind":"connect","addr":"127.0.0.1:22"}`,
		`{"kind":"connect","addr":"[::1]:22"}`,
		`{"kind":"connect","addr":"10.0.2.2:22"}`,
		`{"kind":"connect","addr":"192.0.2.2:22"}`,
		`{"kind":"connect","addr":"192.0.2.1:3128"}`,
		`{"kind":"connect","addr":"169.254.169.254:80"}`,
		`{"kind":"connect","addr":"[fd00:ec2::254]:80"}`,
		`{"kind":"connect","addr":"[fe80::1%wan0]:80"}`,
		`{"kind":"connect","addr":"0.0.0.0:22"}`,
		`{"kind":"connect","addr":"224.0.0.1:80"}`,
		`{"kind":"connect","addr":"255.255.255.255:80"}`,
		`{"kind":"connect","addr":"` + addr + `:0"}`,
		`{"kind":"connect","addr":"` + addr + `:22"}`,
		`{"kind":"connect","addr":"` + name + `:80"}`,
		`{"kind":"connect"}`,
		`{"kind":"listener","addr":"127.0.0.1:22"}`,
		`{"kind":"proxy","addr":"93.184.216.35:80"}`,
		`{"kind":"ping","addr":"10.20.30.40:0"}`,
		`{"kind":"ping","addr":"127.0.0.1:0"}`,
		`{"kind":"note","proto":"udp","addr":"93.184.216.35:123"}`,
		`{"kind":"note","proto":"\u001b[2J","addr":"93.184.216.35:80"}`,
		``, `{`, `[]`, `null`, strings.Repeat(" ", flow.MaxHeader),
	} {
		short := header
		if len(short) > 100 {
			short = short[:10] + "…"
		}
		fmt.Printf("%s: %s\n", short, connect(s, header, ""))
	}
}

// connect opens a flow with that header, and says something on it if it is accepted.
func connect(s *flow.Session, header, say string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f, err := s.Open(ctx, []byte(header))
	var refused *flow.RefusedError
	switch {
	case errors.As(err, &refused):
		names := map[byte]string{netflow.Refused: "refused", netflow.Unreachable: "unreachable", netflow.Denied: "denied", netflow.Busy: "busy", flow.CodeTooMany: "too many"}
		return names[refused.Code]
	case err != nil:
		return err.Error()
	}
	defer f.Close()
	if _, err := io.WriteString(f, say); err != nil {
		return "accepted; " + err.Error()
	}
	f.CloseWrite()
	answer, err := io.ReadAll(struct{ io.Reader }{f})
	switch {
	case errors.Is(err, flow.ErrReset):
		return "accepted; reset"
	case err != nil:
		return "accepted; " + err.Error()
	case len(answer) == 0:
		return "accepted; an end"
	}
	line, _, _ := strings.Cut(string(answer), "\r\n")
	return fmt.Sprintf("accepted; %q", line)
}

// dns asks for a name's addresses of IPv4.
func dns(s *flow.Session, name string) string {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	text, err := m.Pack()
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f, err := s.Open(ctx, netflow.Request{Kind: netflow.DNS}.Marshal())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	f.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
	f.CloseWrite()
	answer, err := io.ReadAll(struct{ io.Reader }{f})
	if err != nil || len(answer) < 2 || m.Unpack(answer[2:]) != nil {
		return fmt.Sprintf("%d bytes, %v", len(answer), err)
	}
	return fmt.Sprintf("%s, %d records", m.RCode, len(m.Answers))
}
