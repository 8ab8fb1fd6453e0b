package resolver

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Result is what the host found for one name and type.
type Result struct {
	// Code is RCodeSuccess or RCodeNameError. Success without records of the type
	// means that the name has none.
	Code dnsmessage.RCode
	// Records are the aliases on the way, in order, then at most 64 records of the
	// type that was asked. The first one's owner is the name that was asked.
	Records []dnsmessage.Resource
	// TTL is the shortest among the records.
	TTL time.Duration
}

// errMismatch is the kind of a message that is no answer to what was asked.
var errMismatch = errors.New("the message is no answer to the query")

// reply is a server's message, read as an answer to one question.
type reply struct {
	code      dnsmessage.RCode
	truncated bool
	answers   []dnsmessage.Resource
}

// readReply decodes msg as the answer to the question q that was sent as id. An
// error of the kind errMismatch says that it is somebody else's.
func readReply(msg []byte, id uint16, q dnsmessage.Question) (reply, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.ID != id || !h.Response {
		return reply{}, errMismatch
	}
	r := reply{code: h.RCode, truncated: h.Truncated}
	got, err := p.Question()
	if err == dnsmessage.ErrSectionDone && h.RCode == dnsmessage.RCodeFormatError {
		return r, nil // some servers return the header only
	}
	if err != nil || got.Type != q.Type || got.Class != q.Class || !strings.EqualFold(got.Name.String(), q.Name.String()) {
		return reply{}, errMismatch
	}
	if h.Truncated {
		return r, nil // what follows is cut, or will be asked for again
	}
	if err := p.SkipAllQuestions(); err != nil {
		return reply{}, fmt.Errorf("read the answer's question: %w", err)
	}
	for len(r.answers) < maxRecords+maxChain {
		a, err := p.Answer()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return reply{}, fmt.Errorf("read the answer's records: %w", err)
		}
		r.answers = append(r.answers, a)
	}
	return r, nil
}

// errChain is a name whose aliases have no end in sight.
var errChain = fmt.Errorf("the name is an alias of an alias, more than %d times", maxChain)

// follow picks from answers the aliases that lead on from the name at, and the
// records of the type at their end. Records of other owners are dropped: nobody
// asked for them. It returns the name at the end of the aliases.
func follow(at string, t Type, answers []dnsmessage.Resource) (end string, picked []dnsmessage.Resource, err error) {
	at = Clean(at)
	for range maxChain + 1 {
		var alias *dnsmessage.Resource
		var found []dnsmessage.Resource
		for i := range answers {
			a := &answers[i]
			if a.Header.Class != dnsmessage.ClassINET || Clean(a.Header.Name.String()) != at {
				continue
			}
			switch a.Header.Type {
			case t:
				found = append(found, *a)
			case dnsmessage.TypeCNAME:
				alias = a
			}
		}
		if len(found) > 0 || alias == nil {
			return at, append(picked, found[:min(len(found), maxRecords)]...), nil
		}
		picked = append(picked, *alias)
		body, ok := alias.Body.(*dnsmessage.CNAMEResource)
		if !ok {
			return "", nil, errors.New("an alias has no name")
		}
		at = Clean(body.CNAME.String())
	}
	return "", nil, errChain
}

// shortest returns the shortest time that one of the records may be kept.
func shortest(records []dnsmessage.Resource) time.Duration {
	ttl := uint32(0)
	for i, r := range records {
		t := r.Header.TTL
		if t > 1<<31-1 {
			t = 0 // RFC 2181, 8
		}
		if i == 0 || t < ttl {
			ttl = t
		}
	}
	return time.Duration(ttl) * time.Second
}
