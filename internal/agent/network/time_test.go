package network

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

// question is a client's packet of NTP with that first byte and transmit time.
func question(first byte, transmit string) []byte {
	b := make([]byte, timePacket)
	b[0], b[2] = first, 6
	if _, err := hex.Decode(b[40:], []byte(transmit)); err != nil {
		panic(err)
	}
	return b
}

func TestTimeAnswer(t *testing.T) {
	checked := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	came := checked.Add(10*time.Second + 500*time.Millisecond)
	now := came.Add(250 * time.Millisecond)
	const transmit = "0123456789abcdef"
	for _, row := range []struct {
		name     string
		question []byte
		first    byte
	}{
		{"version 4", question(0x23, transmit), 0x24},
		{"version 3", question(0x1b, transmit), 0x1c},
		{"version 1", question(0x0b, transmit), 0x0c},
		{"of a client that is not synchronised", question(0xe3, transmit), 0x24},
		{"with extensions", append(question(0x23, transmit), make([]byte, 28)...), 0x24},
	} {
		a := timeAnswer(row.question, checked, came, now)
		// The words of RFC 5905, 7.3, from its sources' side: reference, origin, receive, transmit.
		want := hex.EncodeToString([]byte{row.first}) + "0a06ec" + "00000000" + "00010000" + "7f7f0101" +
			"ed01b42500000000" + transmit + "ed01b42f80000000" + "ed01b42fc0000000"
		if got := hex.EncodeToString(a); got != want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, got, want)
		}
	}
	for name, q := range map[string][]byte{
		"empty": nil, "short": question(0x23, transmit)[:47], "version 0": question(0x03, transmit), "version 5": question(0x2b, transmit),
		"a server's": question(0x24, transmit), "a peer's": question(0x21, transmit), "a broadcast": question(0x25, transmit), "of control": question(0x26, transmit),
	} {
		if a := timeAnswer(q, checked, came, now); a != nil {
			t.Errorf("%s is answered: %x", name, a)
		}
	}
}

func TestNTPTime(t *testing.T) {
	for text, want := range map[string]string{
		"1970-01-01T00:00:00Z":    "83aa7e8000000000", // RFC 5905, figure 4
		"1999-12-31T00:00:00Z":    "bc16708000000000",
		"2036-02-07T06:28:16Z":    "0000000000000000", // the next era
		"2036-02-07T06:28:15.75Z": "ffffffffc0000000",
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(binary.BigEndian.AppendUint64(nil, ntpTime(at))); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

// No packet gets an answer that is longer, or that would be answered again.
func FuzzTimeAnswer(f *testing.F) {
	f.Add(question(0x23, strings.Repeat("0", 16)))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, q []byte) {
		now := time.Unix(1e9, 0)
		a := timeAnswer(q, now, now, now)
		if len(a) > len(q) {
			t.Errorf("%d bytes are answered with %d", len(q), len(a))
		}
		if a != nil && timeAnswer(a, now, now, now) != nil {
			t.Errorf("the answer %x is answered", a)
		}
	})
}
