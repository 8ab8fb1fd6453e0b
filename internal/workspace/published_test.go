package workspace

// Attacks on git, tar and copies out of containers that were published, each as it
// would come to banger: in a repository that goes in, or in what a guest sends. Where
// banger has nothing that the attack works on, it goes through, and nothing runs, and
// nothing is written but what it is.

// publishedRepositories are scripts that make a repository, and what refuses it.
var publishedRepositories = map[string]hostileRepository{
	"CVE-2014-9390 .GIT tracked":                       {`t=$(printf '100644 blob %s\tpost-checkout\n' $(git rev-parse HEAD:f) | git mktree); t=$( (git ls-tree HEAD; printf '040000 tree %s\t.GIT\n' $t) | git mktree); git update-ref HEAD $(git commit-tree -m evil $t)`, ""},
	"CVE-2014-9390 .git with what HFS+ leaves out":     {track(`.g\342\200\214it/config`), `it is a git directory`},
	"CVE-2018-11235 a submodule's name leads out":      {gitlink(`mod`, `[submodule "../../hooks"]`, `path = mod`, `url = ./x`), `"mod" is a submodule`},
	"CVE-2018-17456 a submodule's URL is an option":    {gitlink(`mod`, `[submodule "mod"]`, `path = mod`, `url = -u$CANARY`), `"mod" is a submodule`},
	"CVE-2019-1349 two submodules in one directory":    {gitlink(`mod`, `[submodule "a"]`, `path = mod`, `[submodule "a/"]`, `path = mod`), `"mod" is a submodule`},
	"CVE-2019-1350 a submodule's name with quotes":     {gitlink(`mod`, `[submodule "\"; $CANARY #"]`, `path = mod`), `"mod" is a submodule`},
	"CVE-2019-1387 a submodule inside a submodule":     {gitlink(`mod`, `[submodule "a"]`, `path = mod`, `[submodule "a/hooks"]`, `path = mod/x`), `"mod" is a submodule`},
	"CVE-2019-19604 a submodule's update is a command": {`printf '[submodule "m"]\n\tpath = m\n\tupdate = !%s\n' "$CANARY" >.gitmodules; git add .gitmodules; git config submodule.m.update "!$CANARY"`, ""},
	"CVE-2020-5260 a newline in a URL":                 {`git config credential.helper "!$CANARY"; git remote add origin 'https://example.org%0ahost=other.example/x'`, ""},
	"CVE-2021-21300 a link where a filter writes":      {`mkdir A; echo '* filter=x' >.gitattributes; echo 1 >A/post-checkout; git add .; ln -s .git/hooks a; git add a; git config filter.x.process "$CANARY"; git config filter.x.required true`, ""},
	"CVE-2021-40330 a newline in a repository's path":  {`git remote add origin "$(printf 'git://example.org/a\nhost=b')"`, ""},
	"CVE-2022-24765 a repository above":                {`cd ..; git init -q; git config core.fsmonitor "$CANARY"; git config core.pager "$CANARY"`, ""},
	"CVE-2022-29187 a repository of another user":      {`git config core.fsmonitor "$CANARY"; chown -R 65534:65534 . 2>/dev/null || true`, ""},
	"CVE-2022-39253 an object is a link":               {`mkdir -p "$HOME/secret"; echo s >"$HOME/secret/f"; mkdir -p .git/objects/aa; ln -s "$HOME/secret/f" .git/objects/aa/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`, ""},
	"CVE-2022-41903 a format in the attributes":        {`git config log.pretty 'format:%>(2147483647)%s'; echo 'f export-subst' >.gitattributes; echo '$Format:%>(2147483647)%s$' >f; git add .`, ""},
	"CVE-2022-23521 attributes without end":            {`printf 'f%0100000d\n' 1 | sed 's/0/ a/g' >.gitattributes; seq 20000 | sed 's/.*/g attr&/' >>.gitattributes; git add .gitattributes`, ""},
	"CVE-2023-22490 refs are links":                    {`mkdir -p "$HOME/secret"; git init -q "$HOME/secret/r"; git -C "$HOME/secret/r" commit -q --allow-empty -m s; rm -rf .git/refs .git/packed-refs; ln -s "$HOME/secret/r/.git/refs" .git/refs; echo "$HOME/secret/r/.git/objects" >.git/objects/info/alternates`, `is a symbolic link`},
	"CVE-2023-22490 one ref is a link":                 {`mkdir -p "$HOME/secret"; git init -q "$HOME/secret/r"; git -C "$HOME/secret/r" commit -q --allow-empty -m s; b=$(git symbolic-ref HEAD); ln -sf "$HOME/secret/r/.git/$b" .git/$b; echo "$HOME/secret/r/.git/objects" >.git/objects/info/alternates`, `is a symbolic link`},
	"CVE-2023-22490 git's info is a link":              {`mkdir "$HOME/secret"; echo s >"$HOME/secret/exclude"; rm -rf .git/info; ln -s "$HOME/secret" .git/info`, `is a symbolic link`},
	"CVE-2023-23946 a link among the tracked":          {`ln -s ../../outside l; git add l; git commit -qm l; git update-index --force-remove l; git update-index --add --cacheinfo 100644,$(git rev-parse HEAD:f),l/f`, ""},
	"CVE-2023-25652 a link where rejects go":           {`ln -s ../../outside f.rej; git add f.rej`, ""},
	"CVE-2023-25815 messages from elsewhere":           {`mkdir -p locale/xx/LC_MESSAGES; git config i18n.logOutputEncoding "$CANARY"; git config i18n.commitEncoding "$CANARY"; git add .`, ""},
	"CVE-2023-29007 a long line of settings":           {`printf '[submodule "m"]\n\turl = %01100d[core]fsmonitor = %s\n' 1 "$CANARY" >>.git/config`, ""},
	"CVE-2024-32002 a link beside a submodule":         {`ln -s .git a; git add a; git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),A/modules/x`, `"A/modules/x" is a submodule`},
	"CVE-2024-32004 a program that packs objects":      {`git config uploadpack.packObjectsHook "$CANARY"; git config pack.packSizeLimit 1`, ""},
	"CVE-2024-32021 a pack is a link":                  {`mkdir "$HOME/secret"; echo s >"$HOME/secret/f"; mkdir -p .git/objects/pack; ln -s "$HOME/secret/f" .git/objects/pack/pack-1111111111111111111111111111111111111111.pack; ln -s "$HOME/secret/f" .git/objects/pack/pack-1111111111111111111111111111111111111111.idx`, ""},
	"CVE-2024-32465 hooks of a copied repository":      {`for h in pre-auto-gc post-merge post-rewrite sendemail-validate fsmonitor-watchman p4-pre-submit; do cp "$CANARY" .git/hooks/$h; done; git config gc.auto 1; git config core.alternateRefsCommand "$CANARY"`, ""},
	"CVE-2024-50349 escapes in a URL":                  {`git remote add origin "$(printf 'https://\033[2Jexample.org/%%1b[2J')"`, ""},
	"CVE-2024-52006 a carriage return in a URL":        {`git config credential.helper "!$CANARY"; git remote add origin 'https://example.org%0d/x'; git config credential.protectProtocol false`, ""},
	"CVE-2025-48384 a submodule's path ends in CR":     {gitlink(`mod`, `[submodule "m"]`, "path = mod\\r", `url = ./x`), `"mod" is a submodule`},
	"CVE-2025-48385 a bundle's URI":                    {`git config remote.origin.url https://example.org/x; git config fetch.bundleURI "file://$HOME/x"; git config transfer.bundleURI true`, ""},
	"CVE-2025-48386 a credential helper":               {`git config credential.helper "!$CANARY"; git config credential.https://example.org.helper "$CANARY"; git remote add origin https://example.org/x`, ""},
}

// track is a script that has git track a path that it would refuse.
func track(path string) string {
	return `p=$(printf '` + path + `'); mkdir -p "${p%/*}"; echo evil >"$p"; printf '100644 %s\t` + path + `\000' $(git rev-parse HEAD:f) | git -c core.protectHFS=false -c core.protectNTFS=false update-index -z --index-info; git -c core.protectHFS=false -c core.protectNTFS=false commit -qm evil`
}

// gitlink is a script that has git track a submodule, with lines of a .gitmodules.
func gitlink(path string, lines ...string) string {
	script := `git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),` + path
	for _, l := range lines {
		script += "; cat >>.gitmodules <<EOF\n" + l + "\nEOF\n:"
	}
	return script + "; git add .gitmodules; git commit -qm submodule"
}

// publishedTrees are the entries of a guest's tree, as hostileTrees.
var publishedTrees = map[string]hostileTree{
	"CVE-2014-9390 .Git":                           {[]string{"40000 .Git"}, `".Git": it is a git directory`},
	"CVE-2018-11233 a short name with a dot":       {[]string{"40000 GIT~1."}, `"GIT~1.": it is a git directory`},
	"CVE-2018-11235 a submodule that is new":       {[]string{"160000 ../mod"}, `it leads out`},
	"CVE-2019-1352 an alternate data stream":       {[]string{"100644 .git::$DATA"}, `it is a git directory`},
	"CVE-2019-1353 a short name by another number": {[]string{"40000 git~1"}, `"git~1": it is a git directory`},
	"CVE-2019-1354 a backslash":                    {[]string{"100644 .git\\hooks\\post-checkout"}, `it is a git directory`},
	"CVE-2021-21300 a link where a directory is":   {[]string{"120000 a", "40000 a"}, `"a": it is there twice`},
	"CVE-2023-23946 a file beyond a link":          {[]string{"120000 a", "100644 a/evil"}, `contains full pathnames`},
	"CVE-2024-32002 a submodule by another case":   {[]string{"160000 A", "120000 a"}, `"A": it is a submodule, and the base has none there`},
	"CVE-2025-48384 a submodule that ends in CR":   {[]string{"160000 mod\r"}, `"mod\r": it is a submodule, and the base has none there`},
	"CVE-2001-1267 tar's ..":                       {[]string{"100644 a/../../evil"}, `it leads out`},
	"CVE-2007-4559 Python's tar":                   {[]string{"100644 ../../evil"}, `it leads out`},
	"CVE-2016-6321 tar's member that is cut":       {[]string{"100644 x/../y"}, `it leads out`},
	"CVE-2018-20834 a link to a link":              {[]string{"120000 a", "120000 a"}, `"a": it is there twice`},
}
