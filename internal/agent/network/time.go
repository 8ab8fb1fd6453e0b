package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// portTime is NTP's.
const portTime = 123

// answeredLimit is for how long an answer counts for Network.AnsweredTime: more than the
// longest pause between two questions of a client that goes on asking (2^13 s is chrony's and
// ntpd's usual limit; RFC 5905 has 2^17).
const answeredLimit = 3 * time.Hour

// What an answer says of the guest's clock. The host compares it with its own and sets it if
// it is a second off; whose clock the host's is, is not known here. So it is a local clock
// as others that are kept by hand: chrony's and ntpd's own have this stratum and reference.
const (
	timeStratum    = 10
	timeReference  = 127<<24 | 127<<16 | 1<<8 | 1
	timeDispersion = 1 << 16 // a second, in units of 2^-16 s
	timePrecision  = -20     // a microsecond, as a power of two seconds
)

// timePacket is the length of a packet without extensions, in bytes (RFC 5905, 7.3).
const timePacket = 48

// timeAnswer answers a client's question of NTP, by the clock's time when it came and now.
// checked is when the clock was last found right. It returns nil for what is no question: a
// packet of another kind must not be answered, or two servers would talk for ever.
func timeAnswer(question []byte, checked, came, now time.Time) []byte {
	if len(question) < timePacket {
		return nil
	}
	version, mode := question[0]>>3&7, question[0]&7
	if version < 1 || version > 4 || mode != 3 {
		return nil
	}
	a := make([]byte, timePacket)
	precision := int8(timePrecision)
	a[0], a[1], a[2], a[3] = version<<3|4, timeStratum, question[2], byte(precision)
	binary.BigEndian.PutUint32(a[8:], timeDispersion)
	binary.BigEndian.PutUint32(a[12:], timeReference)
	binary.BigEndian.PutUint64(a[16:], ntpTime(checked))
	copy(a[24:32], question[40:48]) // the client's transmit time is the answer's origin
	binary.BigEndian.PutUint64(a[32:], ntpTime(came))
	binary.BigEndian.PutUint64(a[40:], ntpTime(now))
	return a
}

// ntpTime is t in NTP's format: seconds since 1900 in 32 bits, which begin anew in 2036, and
// 32 bits of a fraction (RFC 5905, 6).
func ntpTime(t time.Time) uint64 {
	const since1900 = 2208988800 // seconds from 1900 to 1970
	fraction := uint64(t.Nanosecond()) << 32 / 1e9
	return uint64(uint32(t.Unix()+since1900))<<32 | fraction
}

// answerTime answers the guest's NTP, whatever server it was for, by the guest's own clock.
func (n *Network) answerTime(c *net.UDPConn) error {
	return datagrams(c, func(question []byte, to netip.Addr, from netip.AddrPort) {
		came := time.Now()
		if answer := timeAnswer(question, time.Unix(0, n.clockChecked.Load()), came, time.Now()); answer != nil {
			n.timeAnswered.Store(came.UnixNano())
			c.WriteMsgUDPAddrPort(answer, sourceControl(to), from)
		}
	})
}

// ClockChecked says that the host has compared the guest's clock with its own.
func (n *Network) ClockChecked() { n.clockChecked.Store(time.Now().UnixNano()) }

// AnsweredTime reports whether a client in the guest asks for the time: then NTP there
// follows the guest's own clock, and must not be taken for better than that.
func (n *Network) AnsweredTime() bool {
	at := n.timeAnswered.Load()
	return at != 0 && time.Since(time.Unix(0, at)).Abs() < answeredLimit
}
