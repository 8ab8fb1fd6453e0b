package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"banger/internal/cas"
	"banger/internal/hint"
	"banger/internal/progress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// put makes an image of text behind ref, without building it.
func put(t *testing.T, s *Store, ref, text string) Image {
	t.Helper()
	return putOf(t, s, ref, text, recipe(nil))
}

// putOf is put with another recipe.
func putOf(t *testing.T, s *Store, ref, text, recipe string) Image {
	t.Helper()
	if _, err := s.cas.Ensure(context.Background(), cas.Order{Ref: ref, Anew: true, Make: func(_ context.Context, tmp string) (any, error) {
		return meta{Source: "test", Recipe: recipe}, os.WriteFile(filepath.Join(tmp, baseFile), []byte(text), 0o600)
	}}); err != nil {
		t.Fatal(err)
	}
	i, err := s.Get(ref)
	if err != nil {
		t.Fatalf("Get(%q): %v", ref, err)
	}
	return i
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Writer{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFindImages(t *testing.T) {
	s := open(t)
	i := put(t, s, Default, "base")
	if i.Ref != Default || i.SizeBytes != 4 || i.Source != "test" || !strings.HasPrefix(i.Digest, "sha256:") || filepath.Base(i.Path) != baseFile {
		t.Errorf("Get = %+v", i)
	}
	if got, err := s.ByDigest(i.Digest); err != nil || got.Path != i.Path {
		t.Errorf("ByDigest(%q) = %+v, %v", i.Digest, got, err)
	}
	if got, err := s.Ensure(context.Background(), Default, progress.Discard); err != nil || !cmp.Equal(got, i) {
		t.Errorf("Ensure = %+v, %v; want %+v", got, err, i)
	}
	put(t, s, "another", "other")
	if got, err := s.Ensure(context.Background(), "another", progress.Discard); err != nil || got.Ref != "another" {
		t.Errorf("Ensure of one that can't be built, but is here = %+v, %v", got, err)
	}
	if list, err := s.List(); err != nil || len(list) != 2 || list[0].Ref != "another" || !cmp.Equal(list[1], i) {
		t.Errorf("List = %+v, %v", list, err)
	}
	if err := os.WriteFile(i.Path, []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ByDigest(i.Digest); !errors.Is(err, cas.ErrDamaged) || hint.Of(err) != "banger image build" {
		t.Errorf("ByDigest of a damaged one = %+v, %v (hint %q)", got, err, hint.Of(err))
	}
}

func TestUnknownImages(t *testing.T) {
	s := open(t)
	for _, ref := range []string{"nosuch", "", "..", "Debian-12", strings.Repeat("x", 300)} {
		for what, f := range map[string]func() (Image, error){
			"Get":    func() (Image, error) { return s.Get(ref) },
			"Ensure": func() (Image, error) { return s.Ensure(context.Background(), ref, progress.Discard) },
		} {
			if i, err := f(); !errors.Is(err, ErrNotFound) || what != "Get" && !strings.Contains(hint.Of(err), "image list") {
				t.Errorf("%s(%q) = %+v, %v (hint %q); want ErrNotFound with a hint", what, ref, i, err, hint.Of(err))
			}
		}
	}
	if _, err := s.Get(Default); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get before a build: %v", err)
	}
	if i, err := s.ByDigest("sha256:" + strings.Repeat("0", 64)); !errors.Is(err, ErrNotFound) {
		t.Errorf("ByDigest of nothing = %+v, %v", i, err)
	}
}

// A default image of another recipe is not the default image: it is built anew,
// which fails here. Who has its digest finds it. Images with a name stay.
func TestOutdated(t *testing.T) {
	s := open(t)
	t.Setenv("PATH", t.TempDir())
	old := putOf(t, s, Default, "old", "another")
	if !old.Outdated {
		t.Errorf("an image of another recipe is %+v", old)
	}
	if i, err := s.Ensure(context.Background(), Default, progress.Discard); err == nil || !strings.Contains(hint.Of(err), "mmdebstrap") {
		t.Errorf("Ensure of the default image, which is of another recipe = %+v, %v", i, err)
	}
	if i, err := s.ByDigest(old.Digest); err != nil || i.Path != old.Path {
		t.Errorf("ByDigest of it = %+v, %v", i, err)
	}
	putOf(t, s, "web", "web", "another")
	if i, err := s.Ensure(context.Background(), "web", progress.Discard); err != nil || i.Outdated {
		t.Errorf("Ensure of an image with a name = %+v, %v", i, err)
	}
	if recipe(nil) == recipe([]string{"jq"}) {
		t.Error("a recipe does not tell its packages")
	}
}

func TestNames(t *testing.T) {
	s := open(t)
	t.Setenv("PATH", t.TempDir())
	for _, ref := range []string{"", "..", "-a", "a-", ".a", "A", "a/b", "a b", "a\nb", "a_b", "\x1b[31m", strings.Repeat("x", 64)} {
		var name *NameError
		if i, err := s.Build(context.Background(), ref, nil, progress.Discard); !errors.As(err, &name) || name.Package {
			t.Errorf("Build(%q) = %+v, %v; want a *NameError of the image", ref, i, err)
		}
	}
	for _, p := range []string{"", "a", "-a", "vim-", "jq=1.6", "jq/stable", "?essential", "~i", "./x.deb", "/etc/passwd", "a,b", "a b", "A", "x:i386", "a\n", strings.Repeat("x", 129)} {
		var name *NameError
		if i, err := s.Build(context.Background(), "web", []string{p}, progress.Discard); !errors.As(err, &name) || !name.Package {
			t.Errorf("Build with package %q = %+v, %v; want a *NameError of the package", p, i, err)
		}
	}
	if _, err := check(Default, []string{"jq"}); err == nil {
		t.Error("the default image takes more packages")
	}
	got, err := check("web-1.2", []string{"nginx", "g++", "jq", "libstdc++6", "jq"})
	if d := cmp.Diff([]string{"g++", "jq", "libstdc++6", "nginx"}, got); d != "" || err != nil {
		t.Errorf("check: %v (-want +got):\n%s", err, d)
	}
}

func TestDelete(t *testing.T) {
	s := open(t)
	a := put(t, s, "a", "same")
	put(t, s, "b", "same")
	put(t, s, "c", "other")
	if err := s.Delete(context.Background(), "a"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if i, err := s.Get("b"); err != nil || i.Digest != a.Digest {
		t.Errorf("what stood for the same image is %+v, %v", i, err)
	}
	if err := s.Delete(context.Background(), "b"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := os.Stat(a.Path); !os.IsNotExist(err) {
		t.Errorf("the file of a deleted image: %v", err)
	}
	for _, ref := range []string{"a", "nosuch", "", "../refs/c"} {
		if err := s.Delete(context.Background(), ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("Delete(%q): %v, want ErrNotFound", ref, err)
		}
	}
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].Ref != "c" {
		t.Errorf("List = %+v, %v", list, err)
	}
}

// A build that can't begin leaves nothing, and says what to type.
func TestBuildWithoutItsTools(t *testing.T) {
	s := open(t)
	t.Setenv("PATH", t.TempDir())
	if i, err := s.Ensure(context.Background(), Default, progress.Discard); err == nil || !strings.Contains(hint.Of(err), "mmdebstrap") {
		t.Errorf("Ensure without mmdebstrap = %+v, %v (hint %q)", i, err, hint.Of(err))
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("List after that = %+v, %v", list, err)
	}
}

// mmdebstrap keeps its apt configuration in the tree's /tmp: without it, its
// own clean-up would run with the host's, and as root empty the host's lists.
func TestRecipeLeavesMmdebstrapsFilesAlone(t *testing.T) {
	for _, path := range []string{"/tmp", " tmp", "apt/lists", "cache/apt"} {
		for line := range strings.Lines(adapt) {
			if strings.Contains(line, path) && !strings.HasPrefix(strings.TrimSpace(line), "#") {
				t.Errorf("the recipe touches %q: %s", path, line)
			}
		}
	}
}
