package hostconfig

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The lines around what is ours in a file of the image's.
const (
	blockBegin = "# banger: begin (from the host's configuration, made anew at each start)"
	blockEnd   = "# banger: end"
)

// setBlock returns text with the lines of ours replaced by block; an empty one takes
// them away. A begin without an end is the user's change: only that line goes.
func setBlock(text, block string) string {
	if strings.Contains(text, blockBegin) { // a bundle of certificates has thousands of lines
		text = withoutBlock(text)
	}
	parts := blockParts(text, block)
	if parts[1] == "" {
		return text
	}
	return parts[0] + parts[1]
}

// blockParts are a text without lines of ours, and what is written behind it: nothing for an empty
// block.
func blockParts(text, block string) [2]string {
	if block == "" {
		return [2]string{text, ""}
	}
	end := ""
	if text != "" && !strings.HasSuffix(text, "\n") {
		end = "\n"
	}
	return [2]string{text, end + blockBegin + "\n" + block + blockEnd + "\n"}
}

func withoutBlock(text string) string {
	var out, held strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		switch bare := strings.TrimRight(line, "\r\n"); {
		case bare == blockBegin:
			out.WriteString(held.String())
			held.Reset()
			inside = true
		case inside && bare == blockEnd:
			held.Reset()
			inside = false
		case inside:
			held.WriteString(line)
		default:
			out.WriteString(line)
		}
	}
	return out.String() + held.String()
}

// edit changes a file of the image's. A file that Apply made is removed when nothing is
// left in it.
func (a *applier) edit(p string, change func(string) string) {
	old, st, err := a.tree.read(p)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		if change("") != "" {
			a.note("%q stays as it is: %v", p, err)
		}
		return
	}
	a.rewrite(p, old, st, missing, change(old))
}

// rewrite writes text in the place of old, which was read with the state st.
func (a *applier) rewrite(p, old string, st unix.Stat_t, missing bool, text string) {
	var err error
	switch {
	case text == old:
		return
	case missing:
		if err = a.tree.replace(p, text, 0o644, nil); err == nil && !slices.Contains(a.state.Made, p) {
			a.state.Made = append(a.state.Made, p)
		}
	case text == "" && slices.Contains(a.state.Made, p):
		a.state.Made = slices.DeleteFunc(a.state.Made, func(m string) bool { return m == p })
		err = a.tree.remove(p)
	default:
		err = a.tree.replace(p, text, 0, &st)
	}
	if err != nil {
		a.note("%q is not written: %v", p, err)
	}
}

// environment writes variables into /etc/environment (pam_env(8)). A variable that has
// a line of the user's or the image's stays as that says.
func (a *applier) environment(env []Variable) {
	a.edit("/etc/environment", func(text string) string {
		rest := setBlock(text, "")
		defined := map[string]bool{}
		for line := range strings.Lines(rest) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
			if key, _, ok := strings.Cut(line, "="); ok {
				defined[strings.TrimSpace(key)] = true
			}
		}
		var b strings.Builder
		for _, v := range env {
			if !defined[v.Name] {
				b.WriteString(v.Name + "=" + v.Value + "\n")
			}
		}
		return setBlock(text, b.String())
	})
}
