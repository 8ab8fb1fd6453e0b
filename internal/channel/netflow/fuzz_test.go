package netflow

import "testing"

// What Parse takes, it takes again as Marshal says it.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"kind":"connect","addr":"93.184.216.34:443","from":"10.0.2.15:40000"}`))
	f.Add([]byte(`{"kind":"denial","proto":"icmp","addr":"93.184.216.34:0","from":"10.0.2.15:7","text":"93.184.216.34: no"}`))
	f.Add([]byte(`{"kind":"dns","tcp":true}`))
	f.Add([]byte(`{"kind":"note","proto":"udp","addr":"[fe80::1%eth0]:5353"}`))
	f.Add([]byte(`{"addr":":80"}`))
	f.Fuzz(func(t *testing.T, header []byte) {
		r, err := Parse(header)
		if err != nil {
			return
		}
		again, err := Parse(r.Marshal())
		if err != nil {
			t.Fatalf("Parse(%q), which %q became: %v", r.Marshal(), header, err)
		}
		if again.Kind != r.Kind || again.Addr != r.Addr || again.From != r.From || again.TCP != r.TCP {
			t.Errorf("Parse(%q) = %+v, and then %+v", header, r, again)
		}
	})
}
