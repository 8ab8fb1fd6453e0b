package hostconfig

import (
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// javaPassword is the one that Java's own store of certificates has everywhere. It
// keeps nothing secret.
const javaPassword = "changeit"

// javaState is what is known of Java's key store from boot to boot.
type javaState struct {
	// Of is the stamp of the bundle that it was made of; "" if it was not made.
	Of string `json:"of,omitempty"`
	// Later says that Boot.Finish makes it.
	Later bool `json:"later,omitempty"`
}

// javaNow returns the key store if Java may look for it at once: the image has a Java. Else, and
// if the bundle is the one that the store was made of, the store is kept as it is, and made by
// Finish if it has to be: to decode a bundle takes a good part of a boot.
func (a *applier) javaNow(b bundle) *File {
	a.kept = append(a.kept, javaFile)
	switch {
	case b.stamp != "" && a.state.Java.Of == b.stamp:
		return nil
	case !a.hasJava():
		a.state.Java = javaState{Later: true}
		return nil
	}
	a.state.Java = javaState{Of: b.stamp}
	return &File{Path: javaFile, Mode: 0o644, Content: javaStore(derOf(b.parts[0] + b.parts[1]))}
}

// Places of a Java: one that is there, or an entry of a directory whose name has one of javaNames.
var (
	javaPlaces = []string{"/usr/bin/java", "/usr/local/bin/java", "/usr/lib/jvm", "/usr/java", "/root/.sdkman"}
	javaAmong  = []string{"/opt", "/usr/local"}
	javaNames  = []string{"java", "jvm", "jdk", "jre", "graal"}
)

// hasJava reports whether the image has something that may be a Java.
func (a *applier) hasJava() bool {
	if slices.ContainsFunc(javaPlaces, a.tree.exists) {
		return true
	}
	looked := a.tree.looked
	a.tree.looked = nil // a Java that comes finds the store
	defer func() { a.tree.looked = looked }()
	for _, d := range javaAmong {
		for _, entry := range a.tree.names(d) {
			if slices.ContainsFunc(javaNames, func(n string) bool { return strings.Contains(strings.ToLower(entry), n) }) {
				return true
			}
		}
	}
	return false
}

// makeStore makes the key store of the image's first bundle.
func (a *applier) makeStore() error {
	for _, p := range bundles {
		text, st, err := a.tree.read(p)
		if err != nil {
			continue
		}
		a.state.Java = javaState{Of: p + " " + stampOf(st)}
		f := File{Path: javaFile, Mode: 0o644, Content: javaStore(derOf(text))}
		old, ok := a.mayWrite(f)
		if !ok {
			return a.save()
		}
		return a.write([]File{f}, []string{old})
	}
	a.state.Java = javaState{}
	return a.save()
}

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
