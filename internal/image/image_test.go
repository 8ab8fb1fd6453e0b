package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"banger/internal/cas"
	"banger/internal/hint"
	"banger/internal/progress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// put makes an image of text behind ref, without building it.
func put(t *testing.T, s *Store, ref, text string) Image {
	t.Helper()
	if _, err := s.cas.Ensure(context.Background(), cas.Order{Ref: ref, Anew: true, Make: func(_ context.Context, tmp string) (any, error) {
		return meta{Source: "test"}, os.WriteFile(filepath.Join(tmp, baseFile), []byte(text), 0o600)
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
	s, err := Open(t.TempDir(), nil)
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
	if got, err := s.Ensure(context.Background(), Default, progress.Discard); err != nil || got != i {
		t.Errorf("Ensure = %+v, %v; want %+v", got, err, i)
	}
	put(t, s, "another", "other")
	if got, err := s.Ensure(context.Background(), "another", progress.Discard); err != nil || got.Ref != "another" {
		t.Errorf("Ensure of one that can't be built, but is here = %+v, %v", got, err)
	}
	if list, err := s.List(); err != nil || len(list) != 2 || list[0].Ref != "another" || list[1] != i {
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
			"Build":  func() (Image, error) { return s.Build(context.Background(), ref, progress.Discard) },
		} {
			if i, err := f(); !errors.Is(err, ErrNotFound) || what != "Get" && !strings.Contains(hint.Of(err), Default) {
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
