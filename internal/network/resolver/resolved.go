package resolver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/net/dns/dnsmessage"
)

const (
	systemBus = "unix:path=/run/dbus/system_bus_socket"
	// busLimit is how long the bus may take to let us in; it does within milliseconds.
	busLimit = 2 * time.Second
	// busPause is how long a bus that did not is left alone.
	busPause = 10 * time.Second
	// maxCalls bounds the calls that wait for an answer, and maxGivenUp those that nobody waits for any
	// more, of one connection: a bus lets it have 128 (max_replies_per_connection in dbus-daemon(1)),
	// and systemd-resolved answers after two minutes at the latest.
	maxCalls   = 100
	maxGivenUp = 28
	// Names of org.freedesktop.resolve1(5).
	resolvedName   = "org.freedesktop.resolve1"
	resolvedPath   = "/org/freedesktop/resolve1"
	resolvedRecord = resolvedName + ".Manager.ResolveRecord"
)

// errNoResolved says that systemd-resolved does not run on this host.
var errNoResolved = errors.New("systemd-resolved does not run")

// broker speaks with systemd-resolved. Its methods may be called at once.
type broker struct {
	mu      sync.Mutex
	room    chan struct{} // has one for each call under way; nil before the first
	conn    *dbus.Conn    // nil without a connection
	address string        // of conn's bus
	givenUp int           // calls on conn
	hung    time.Time     // when the bus last did not let us in within busLimit
}

// lookup asks for the records that q wants by ResolveRecord, for addresses too:
// it reads the hosts file and the cache as ResolveHostname does, but tells the
// time to live, and does not append the host's search list.
func (b *broker) lookup(ctx context.Context, address string, q dnsmessage.Question) (Result, error) {
	room := b.calls()
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	for again := false; ; again = true {
		conn, err := b.connect(ctx, address)
		if err != nil {
			return Result{}, errNoResolved
		}
		var records []struct {
			Interface   int32
			Class, Type uint16
			Data        []byte
		}
		var flags uint64
		call := conn.Object(resolvedName, resolvedPath).CallWithContext(ctx, resolvedRecord, dbus.FlagNoAutoStart,
			int32(0), Clean(q.Name.String()), uint16(q.Class), uint16(q.Type), uint64(0))
		err = call.Store(&records, &flags)
		var said dbus.Error
		switch {
		case err == nil:
			var all []dnsmessage.Resource
			for _, r := range records[:min(len(records), maxRecords)] {
				rr, err := readRecord(r.Data)
				if err != nil {
					return Result{}, err
				}
				all = append(all, rr)
			}
			return resolvedResult(q, all), nil
		case errors.As(err, &said):
			return resolvedError(said)
		case ctx.Err() != nil:
			b.giveUp(conn)
			return Result{}, ctx.Err()
		}
		b.drop(conn)
		if again {
			return Result{}, errNoResolved
		}
	}
}

// resolvedError reads an error that came as a message.
func resolvedError(err dbus.Error) (Result, error) {
	switch err.Name {
	case resolvedName + ".DnsError.NXDOMAIN":
		return Result{Code: dnsmessage.RCodeNameError}, nil
	case resolvedName + ".NoSuchRR":
		return Result{}, nil
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
		"org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.UnknownObject",
		"org.freedesktop.DBus.Error.UnknownMethod", "org.freedesktop.DBus.Error.UnknownInterface":
		return Result{}, errNoResolved
	}
	return Result{}, fmt.Errorf("systemd-resolved: %w", err)
}

// resolvedResult makes an answer of the records at the end of the aliases:
// systemd-resolved leaves the aliases themselves out.
func resolvedResult(q dnsmessage.Question, records []dnsmessage.Resource) Result {
	if len(records) == 0 {
		return Result{}
	}
	owner := records[0].Header.Name
	end, picked, err := follow(owner.String(), q.Type, records)
	if err != nil || len(picked) == 0 {
		return Result{}
	}
	if end != Clean(q.Name.String()) && q.Type != dnsmessage.TypeCNAME {
		picked = append([]dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeCNAME, Class: dnsmessage.ClassINET, TTL: picked[0].Header.TTL},
			Body:   &dnsmessage.CNAMEResource{CNAME: owner},
		}}, picked...)
	}
	return Result{Records: picked}
}

// readRecord decodes one resource record in wire format, without a message around it.
func readRecord(data []byte) (dnsmessage.Resource, error) {
	if len(data) > maxMessage {
		return dnsmessage.Resource{}, errors.New("a record of systemd-resolved is too long")
	}
	// A header of a response that has one answer.
	msg := append([]byte{0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0}, data...)
	var p dnsmessage.Parser
	if _, err := p.Start(msg); err != nil {
		return dnsmessage.Resource{}, err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return dnsmessage.Resource{}, err
	}
	r, err := p.Answer()
	if err != nil {
		return dnsmessage.Resource{}, fmt.Errorf("read a record of systemd-resolved: %w", err)
	}
	return r, nil
}

// connect returns the connection to the bus, a new one if there is none.
func (b *broker) connect(ctx context.Context, address string) (*dbus.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil && b.address == address && b.conn.Connected() {
		return b.conn, nil
	}
	b.closeLocked()
	if time.Since(b.hung) < busPause {
		return nil, errNoResolved
	}
	within, cancel := context.WithTimeout(ctx, busLimit)
	defer cancel()
	conn, err := dbus.Dial(address)
	if err != nil {
		return nil, err
	}
	// A bus that does not answer is left by closing: the library waits without end.
	stop := context.AfterFunc(within, func() { conn.Close() })
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if !stop() && err == nil {
		err = within.Err()
	}
	if err != nil {
		conn.Close()
		if within.Err() != nil && ctx.Err() == nil {
			b.hung = time.Now()
		}
		return nil, err
	}
	b.conn, b.address, b.givenUp = conn, address, 0
	return conn, nil
}

// calls is room.
func (b *broker) calls() chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.room == nil {
		b.room = make(chan struct{}, maxCalls)
	}
	return b.room
}

// giveUp takes note that nobody waits for a call on conn. When there are too many, the bus and
// systemd-resolved are told by another connection: who still waits asks again there.
func (b *broker) giveUp(conn *dbus.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != conn {
		return
	}
	if b.givenUp++; b.givenUp >= maxGivenUp {
		b.closeLocked()
	}
}

// drop closes conn, if it is still the connection.
func (b *broker) drop(conn *dbus.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == conn {
		b.closeLocked()
	}
}

func (b *broker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeLocked()
}

func (b *broker) closeLocked() {
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}
