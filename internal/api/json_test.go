package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// The JSON of every type that crosses the socket is a file: scripts read it, and
// another version of banger does. go test ./internal/api -update writes it.
func TestJSON(t *testing.T) {
	var got bytes.Buffer
	for _, v := range []any{&Daemon{}, &VM{}, &Create{}, &Start{}, &Stop{}, &Kill{}, &Delete{}, &Deleted{}, &Set{}, &WaitFor{}, &Prune{}, &Pruned{},
		&Ports{}, &Forward{}, &Logs{}, &Session{}, &Health{}, &Stats{}, &Image{}, &ImageBuild{}, &Kernel{}, &KernelPull{}, &TrashEntry{}, &TrashEmpty{},
		&TrashEmptied{}, &TrashRestore{}, &Event{}, &Fault{}, &Lock{}} {
		fill(reflect.ValueOf(v).Elem(), "")
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(reflect.TypeOf(v).Elem().Name() + "\n" + string(text) + "\n\n")
		back := reflect.New(reflect.TypeOf(v).Elem())
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(back.Interface()); err != nil {
			t.Errorf("read %T back: %v", v, err)
		}
	}
	file := filepath.Join("testdata", "types.txt")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: write it with -update", err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the API's JSON differs from %s (-want +got):\n%s", file, diff)
	}
}

// fill gives every field below v a value that is not zero, made of its name.
func fill(v reflect.Value, name string) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		v.SetBytes([]byte(`{}`))
	case v.Type() == reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.MustParseAddr("127.0.0.1")))
	case v.Type() == reflect.TypeFor[netip.AddrPort]():
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("127.0.0.1:8080")))
	case v.CanUint():
		v.SetUint(uint64(len(name)))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name)
		}
	case v.Kind() == reflect.String:
		v.SetString("a " + name)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	default:
		v.SetInt(int64(len(name)))
	}
}
