package channel

import (
	"bytes"
	"crypto/rand"
	"os"
	"testing"
)

func TestReadPages(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	data := make([]byte, 5*readAhead)
	rand.Read(data)
	w.Write(data)
	for _, c := range []struct{ room, want int }{{100, 100}, {2*readAhead + 7, 2*readAhead + 7}, {4 * readAhead, 3*readAhead - 107}} {
		buf := make([]byte, c.room)
		n, err := readPages(int(r.Fd()), buf)
		if err != nil || n != c.want || !bytes.Equal(buf[:n], data[:n]) {
			t.Errorf("readPages into %d bytes = %d, %v; want the next %d", c.room, n, err, c.want)
		}
		data = data[n:]
	}
}
