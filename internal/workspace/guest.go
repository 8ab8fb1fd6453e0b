package workspace

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Names of a host that has no git identity.
const (
	standInName  = "banger"
	standInEmail = "banger@localhost"
)

// guestConfig is the configuration of the guest's repository: how it is stored, the
// meanings of the user's, who commits, and where the repository came from.
func (p *Plan) guestConfig() string {
	all := p.Repo.all()
	var b strings.Builder
	if p.Repo.Hash == "sha1" {
		// git init in a repository that is there makes its version 0, and an extension breaks it then.
		b.WriteString("[core]\n\trepositoryformatversion = 0\n")
	} else {
		writeFormat(&b, p.Repo.Hash)
	}
	own := append(config{{key: "core.bare", value: "false"}, {key: "core.logallrefupdates", value: "true"}}, meant(all)...)
	own = append(own, setting{key: "user.name", value: orElse(all, "user.name", standInName)}, setting{key: "user.email", value: orElse(all, "user.email", standInEmail)},
		setting{key: "commit.gpgsign", value: "false"}, setting{key: "tag.gpgsign", value: "false"})
	if v, set := all.last("init.defaultbranch"); set {
		own = append(own, setting{key: "init.defaultbranch", value: v})
	}
	writeSettings(&b, own)
	if p.partial {
		// The guest's git takes missing objects for what a remote has.
		b.WriteString("[extensions]\n\tpartialClone = origin\n[remote \"origin\"]\n\tpromisor = true\n\tpartialclonefilter = blob:none\n")
	}
	if v, set := p.Repo.config.last("remote.origin.url"); set {
		if v = withoutUser(v); v != "" {
			b.WriteString("[remote \"origin\"]\n\turl = " + quoteValue(v) + "\n\tfetch = \"+refs/heads/*:refs/remotes/origin/*\"\n")
		}
	}
	return b.String()
}

func orElse(c config, key, other string) string {
	if v, set := c.last(key); set && v != valueless && strings.TrimSpace(v) != "" {
		return v
	}
	return other
}

// withoutUser is a remote's URL without user info. A remote that is a path of the
// host's is "".
func withoutUser(remote string) string {
	if scheme, rest, found := strings.Cut(remote, "://"); found {
		// Cut off before it is parsed: a password may have bytes that no URL has.
		end := strings.IndexAny(rest+"/", "/?#")
		user := ""
		if at := strings.LastIndex(rest[:end], "@"); at >= 0 {
			user, rest = rest[:at], rest[at+1:]
		}
		u, err := url.Parse(scheme + "://" + rest)
		if err != nil || u.Scheme == "file" || u.Host == "" {
			return ""
		}
		// For ssh the user is part of the address, and no secret.
		if name, _, _ := strings.Cut(user, ":"); u.Scheme == "ssh" && name != "" {
			u.User = url.User(name)
		}
		return u.String()
	}
	// scp's form, user@host:path, in which there is no password; "::" names a helper.
	if host, path, found := strings.Cut(remote, ":"); found && !strings.Contains(host, "/") && path != "" && path[0] != ':' {
		return remote
	}
	return ""
}

// excludes is the text of the user's own excludes files: that of core.excludesFile
// and the repository's info/exclude, which goes before it and therefore stands
// after it.
func (r *Repository) excludes() ([]byte, error) {
	var text []byte
	if path := excludesFile(r.user); path != "" {
		// The user's own: it may be a link.
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			if text, err = readSmall(resolved, maxConfig); err != nil {
				return nil, err
			}
		}
	}
	if r.IsPlain() {
		return text, nil
	}
	own, err := readSmall(filepath.Join(r.Common, "info", "exclude"), maxConfig)
	if err != nil {
		return nil, err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return append(text, own...), nil
}

// excludesFile is the user's core.excludesFile, by its default if it is not set
// (gitignore(5)).
func excludesFile(user config) string {
	home := os.Getenv("HOME")
	v, set := user.last("core.excludesfile")
	switch {
	case set && strings.HasPrefix(v, "~/"):
		return filepath.Join(home, v[2:])
	case set && filepath.IsAbs(v):
		return v
	case set:
		return ""
	}
	base := os.Getenv("XDG_CONFIG_HOME")
	if base == "" {
		base = filepath.Join(home, ".config")
	}
	return filepath.Join(base, "git", "ignore")
}
