package api

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// mixed has a field of each kind that a query can hold.
type mixed struct {
	Text string `json:"text,omitempty"`
	Yes  bool   `json:"yes,omitempty"`
	N    int64  `json:"n,omitempty"`
}

func TestDecodeQuery(t *testing.T) {
	for _, test := range []struct {
		query string
		want  mixed
		err   string // part of it
	}{
		{"", mixed{}, ""},
		{"text=a&yes=true&n=-3", mixed{"a", true, -3}, ""},
		{"text=true", mixed{Text: "true"}, ""},
		{"text=42", mixed{Text: "42"}, ""},
		{"text=%7B%7D", mixed{Text: "{}"}, ""},
		{"text=", mixed{}, ""},
		{"yes=1", mixed{}, `"yes"`},
		{"yes=", mixed{}, `"yes" can't be ""`},
		{"yes=null", mixed{}, `"yes" can't be "null"`},
		{"n=1.5", mixed{}, `"n" can't be "1.5"`},
		{"n=99999999999999999999", mixed{}, `"n"`},
		{"n=%5B1%5D", mixed{}, `"n" can't be "[1]"`},
		{"nosuch=1", mixed{}, `"nosuch"`},
		{"yes=true&yes=true", mixed{}, "2 times"},
		{"YES=true", mixed{}, "no field"},
		{"ye%C5%BF=true", mixed{}, "no field"}, // package json takes the long s for an s
		{`yes":1,"n=1`, mixed{}, "no field"},
	} {
		q, err := url.ParseQuery(test.query)
		if err != nil {
			t.Fatal(err)
		}
		var got mixed
		err = DecodeQuery(q, &got)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("DecodeQuery(%q) = %v, want an error with %q", test.query, err, test.err)
		}
		if err == nil && got != test.want {
			t.Errorf("DecodeQuery(%q) gives %+v, want %+v", test.query, got, test.want)
		}
	}
}

// FuzzQuery: what EncodeQuery writes, DecodeQuery reads back; what else comes
// from a socket ends in a value or an error.
func FuzzQuery(f *testing.F) {
	f.Add("a", true, int64(3), "yes=true&n=4")
	f.Add("null", false, int64(-1), "text=%00&yes=null&n=1e3")
	f.Add("{\"", true, int64(0), "n=[")
	f.Fuzz(func(t *testing.T, text string, yes bool, n int64, raw string) {
		if q, err := url.ParseQuery(raw); err == nil {
			DecodeQuery(q, &mixed{})
			DecodeQuery(q, &Delete{})
			DecodeQuery(q, &WaitFor{})
		}
		if !utf8.ValidString(text) {
			return // JSON holds no such text
		}
		in := mixed{text, yes, n}
		q, err := EncodeQuery(in)
		if err != nil {
			t.Fatalf("EncodeQuery(%+v): %v", in, err)
		}
		if q, err = url.ParseQuery(q.Encode()); err != nil {
			t.Fatal(err)
		}
		var out mixed
		if err := DecodeQuery(q, &out); err != nil || out != in {
			t.Fatalf("%+v became the query %q, read as %+v, %v", in, q.Encode(), out, err)
		}
	})
}
