package supervisor

import (
	"io"
	"os"
)

// maxOwnLog bounds the supervisor's own log, in bytes. A guest that breaks its carriers, or
// another user at a forwarded port, makes lines without end.
const maxOwnLog = 8 << 20

// ownLog begins its file anew when that would have more than max bytes; what is no file
// has no bound. Calls of Write are not made at once: a slog.Handler makes none.
type ownLog struct {
	file *os.File
	max  int64
}

func (l ownLog) Write(p []byte) (int, error) {
	at, err := l.file.Seek(0, io.SeekCurrent)
	if err == nil && at+int64(len(p)) > l.max && l.file.Truncate(0) == nil {
		l.file.Seek(0, io.SeekStart)
	}
	return l.file.Write(p)
}
