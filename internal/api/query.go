package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// EncodeQuery writes the fields of in, a struct of plain fields, as a query.
// Fields that JSON leaves out are left out.
func EncodeQuery(in any) (url.Values, error) {
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	q := url.Values{}
	for k, v := range fields {
		var s string
		if json.Unmarshal(v, &s) != nil {
			s = string(v)
		}
		q.Set(k, s)
	}
	return q, nil
}

// keyBytes are the bytes of a field's name. Package json compares names without
// regard to case, so a query could otherwise name one field twice.
const keyBytes = "abcdefghijklmnopqrstuvwxyz0123456789_"

// DecodeQuery reads a query into out, a pointer to a struct of plain fields. A
// key that out does not have is an error. A value is tried as a string and as
// it is (true, 42).
func DecodeQuery(q url.Values, out any) error {
	for k, vs := range q {
		if strings.Trim(k, keyBytes) != "" {
			return fmt.Errorf("%.80q is no field", k)
		}
		if len(vs) != 1 {
			return fmt.Errorf("%q is given %d times", k, len(vs))
		}
		key, err := json.Marshal(k)
		if err != nil {
			return err
		}
		quoted, err := json.Marshal(vs[0])
		if err != nil {
			return err
		}
		try := func(value []byte) error {
			dec := json.NewDecoder(bytes.NewReader(fmt.Appendf(nil, "{%s:%s}", key, value)))
			dec.DisallowUnknownFields()
			return dec.Decode(out)
		}
		if err := try(quoted); err == nil {
			continue
		}
		if !json.Valid([]byte(vs[0])) || strings.ContainsAny(vs[0], "{[") || strings.TrimSpace(vs[0]) == "null" {
			return fmt.Errorf("%q can't be %.80q", k, vs[0])
		}
		if err := try([]byte(vs[0])); err != nil {
			return fmt.Errorf("%q can't be %.80q: %w", k, vs[0], err)
		}
	}
	return nil
}
