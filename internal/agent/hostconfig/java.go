package hostconfig

import (
	"crypto/sha1"
	"encoding/binary"
	"strconv"
	"unicode/utf16"
)

// javaPassword is the one that Java's own store of certificates has everywhere. It
// keeps nothing secret.
const javaPassword = "changeit"

// javaStore returns certificates as a key store that every Java reads (JKS, version 2:
// sun.security.provider.JavaKeyStore). Times are zero, so that equal certificates make
// equal bytes.
func javaStore(certs [][]byte) string {
	size := 12
	for _, der := range certs {
		size += len(der) + 64
	}
	b := make([]byte, 0, size+sha1.Size)
	text := func(s string) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	b = binary.BigEndian.AppendUint32(b, 0xfeedfeed)
	b = binary.BigEndian.AppendUint32(b, 2)
	b = binary.BigEndian.AppendUint32(b, uint32(len(certs)))
	for i, der := range certs {
		b = binary.BigEndian.AppendUint32(b, 2) // a trusted certificate
		text("certificate-" + strconv.Itoa(i))
		b = binary.BigEndian.AppendUint64(b, 0)
		text("X.509")
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(der))), der...)
	}
	h := sha1.New()
	binary.Write(h, binary.BigEndian, utf16.Encode([]rune(javaPassword)))
	h.Write([]byte("Mighty Aphrodite")) // the format's own
	h.Write(b)
	return string(h.Sum(b))
}
