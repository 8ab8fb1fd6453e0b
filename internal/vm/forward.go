package vm

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// MaxForwards bounds a VM's forwards, and those that are made by themselves.
const MaxForwards = 64

// Forward gives a port of the guest's an address on the host.
type Forward struct {
	Host  netip.AddrPort `json:"host"`
	Guest uint16         `json:"guest"`
}

// loopback is where a forward listens that names no address.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// ParseForward reads [ADDR:]HOST:GUEST. An address of IPv6 is in brackets; without an
// address it is 127.0.0.1.
func ParseForward(text string) (Forward, error) {
	host, guest, ok := cutLast(text)
	if !ok {
		return Forward{}, fmt.Errorf("%.60q has no guest's port: say HOST:GUEST, as 8080:80", text)
	}
	var f Forward
	var err error
	if f.Guest, err = parsePort(guest); err != nil {
		return Forward{}, err
	}
	f.Host, err = ParseForwardHost(host)
	return f, err
}

// ParseForwardHost reads [ADDR:]HOST, a forward's end on the host.
func ParseForwardHost(text string) (netip.AddrPort, error) {
	at := loopback
	if strings.HasSuffix(text, "]") {
		return netip.AddrPort{}, fmt.Errorf("%.60q has no port of this host: say one as %.60s:8080", text, text)
	}
	if addr, port, ok := cutLast(text); ok {
		plain, open := strings.CutPrefix(addr, "[")
		plain, shut := strings.CutSuffix(plain, "]")
		a, err := netip.ParseAddr(plain)
		if err != nil || a.Is6() != open || open != shut || a.Zone() != "" || a.IsMulticast() {
			return netip.AddrPort{}, fmt.Errorf("%.60q is no address of this host: say one as 127.0.0.1, 0.0.0.0 or [::1]", addr)
		}
		at, text = a.Unmap(), port
	}
	port, err := parsePort(text)
	return netip.AddrPortFrom(at, port), err
}

func cutLast(text string) (before, after string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.60q is no port, between 1 and 65535", text)
	}
	return uint16(n), nil
}

// String is f as ParseForward reads it, without the address that is meant without one.
func (f Forward) String() string {
	guest := strconv.Itoa(int(f.Guest))
	if f.Host.Addr() == loopback {
		return strconv.Itoa(int(f.Host.Port())) + ":" + guest
	}
	return f.Host.String() + ":" + guest
}

// checkForwards refuses forwards that can't all be there.
func checkForwards(all []Forward) error {
	if len(all) > MaxForwards {
		return fmt.Errorf("there are %d, at most %d are possible", len(all), MaxForwards)
	}
	for i, f := range all {
		if !f.Host.IsValid() || f.Host.Port() == 0 || f.Guest == 0 {
			return errors.New("a forward has an address, a port and a guest's port")
		}
		if slices.ContainsFunc(all[:i], func(g Forward) bool { return g.Host == f.Host }) {
			return fmt.Errorf("%s is given twice", f.Host)
		}
	}
	return nil
}

// Loopback is the VM's own address on the host, in 127.16.0.0 to 127.255.255.254, which
// its id gives: 15 million, so whoever makes an id looks that no other VM has its address.
// The whole of 127.0.0.0/8 is the host's loopback on Linux.
func (id ID) Loopback() netip.Addr {
	n, err := strconv.ParseUint(string(id), 16, 64)
	if err != nil {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{127, byte(16 + n>>16%240), byte(n >> 8), byte(1 + n%254)})
}
