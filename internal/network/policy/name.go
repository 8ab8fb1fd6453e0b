package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// Names are compared in one form: lower case, without the final dot, in A-labels.
const (
	maxName  = 253 // bytes, of a name without its final dot; 255 on the wire (RFC 1035 §2.3.4)
	maxLabel = 63  // bytes
)

// Names of the host's loopback. The second is what Docker's users type.
const (
	HostName       = "host.banger.internal"
	HostNameDocker = "host.docker.internal"
)

func isHostName(name string) bool { return name == HostName || name == HostNameDocker }

// VMSuffix is what a VM's name has behind it as a host's.
const VMSuffix = ".vm"

// isVMName says whether a canonical name is another VM's.
func isVMName(name string) bool { return strings.HasSuffix(name, VMSuffix) }

var errIsAddress = errors.New("it ends in a number, as only addresses do")

// canonical returns the form of a name in which names are compared. It takes letters,
// digits, hyphens and underscores, and nothing that could be read as an IPv4 address in
// any spelling ("127.1", "0x7f.1", "2130706433").
func canonical(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	switch {
	case name == "":
		return "", errors.New("it is empty")
	case len(name) > maxName:
		return "", fmt.Errorf("it is %d bytes long, and a name has at most %d", len(name), maxName)
	}
	name = lower(name)
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if err := checkLabel(l); err != nil {
			return "", err
		}
	}
	if numeric(labels[len(labels)-1]) {
		return "", errIsAddress
	}
	return name, nil
}

// lower leaves everything but A to Z as it is: strings.ToLower makes a k of the Kelvin sign.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func checkLabel(l string) error {
	switch {
	case l == "":
		return errors.New("it has two dots in a row, or begins with one")
	case len(l) > maxLabel:
		return fmt.Errorf("a part of it is %d bytes long, and a part has at most %d", len(l), maxLabel)
	}
	for i := range len(l) {
		if c := l[i]; c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return fmt.Errorf("it has the character %q", c)
		}
	}
	if l[0] == '-' || l[len(l)-1] == '-' {
		return fmt.Errorf("its part %q begins or ends with a hyphen", l)
	}
	return nil
}

// numeric says whether a last label makes a parser of addresses read the name as IPv4
// (https://url.spec.whatwg.org/#ends-in-a-number-checker).
func numeric(label string) bool {
	if strings.Trim(label, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(label, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}

// toASCII turns what a user typed into A-labels: "Bücher.example" is
// "xn--bcher-kva.example" (IDNA2008 with the mapping of UTS 46).
func toASCII(name string) (string, error) {
	ascii := true
	for i := range len(name) {
		ascii = ascii && name[i] < 0x80
	}
	if ascii && !strings.Contains(lower(name), "xn--") {
		return name, nil
	}
	out, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
	if err != nil {
		return "", errors.New("it is not a valid internationalised name")
	}
	return out, nil
}

// Typed is the name of a host as the guest knows it, of one that a user typed as in a rule: in
// Unicode, or host. What is no name stays as it is.
func Typed(name string) string {
	if lower(name) == "host" {
		return HostName
	}
	if out, err := toASCII(name); err == nil {
		return out
	}
	return name
}

// localOnly says whether a canonical name means something on this host or its link only,
// so that no other machine is asked for it: RFC 6761, RFC 6762, and .internal as ICANN
// reserved it.
func localOnly(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == name {
		return true
	}
	switch last {
	case "local", "internal", "localhost", "localdomain", "vm":
		return true
	}
	return strings.HasSuffix(name, ".home.arpa")
}

// literal parses an address as people write it in rules, with or without brackets.
func literal(s string) (netip.Addr, bool) {
	if in, ok := strings.CutPrefix(s, "["); ok {
		if in, ok = strings.CutSuffix(in, "]"); !ok || !strings.Contains(in, ":") {
			return netip.Addr{}, false
		}
		s = in
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}
