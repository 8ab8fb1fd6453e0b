package hostconfig

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// javaPassword is the one that Java's own store of certificates has everywhere. It
// keeps nothing secret.
const javaPassword = "changeit"

// javaStore returns certificates as a key store that every Java reads (JKS, version 2:
// sun.security.provider.JavaKeyStore). Times are zero, so that equal certificates make
// equal bytes.
func javaStore(certs [][]byte) string {
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.BigEndian, v) }
	text := func(s string) {
		put(uint16(len(s)))
		b.WriteString(s)
	}
	put(uint32(0xfeedfeed))
	put(uint32(2))
	put(uint32(len(certs)))
	for i, der := range certs {
		put(uint32(2)) // a trusted certificate
		text(fmt.Sprintf("certificate-%d", i))
		put(uint64(0))
		text("X.509")
		put(uint32(len(der)))
		b.Write(der)
	}
	h := sha1.New()
	binary.Write(h, binary.BigEndian, utf16.Encode([]rune(javaPassword)))
	h.Write([]byte("Mighty Aphrodite")) // the format's own
	h.Write(b.Bytes())
	return string(h.Sum(b.Bytes()))
}
