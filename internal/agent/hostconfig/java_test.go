package hostconfig

import (
	"os"
	"path/filepath"
	"testing"
)

// The key store is there at once where there is a Java, else after Finish; it is made anew of
// another bundle only, stays as the user changed it, and goes with the certificates.
func TestJava(t *testing.T) {
	own, added, more := newCertificate(t), newCertificate(t), newCertificate(t)
	bundle := "/etc/ssl/certs/ca-certificates.crt"
	c := Config{Certificates: []Certificate{added}}
	for _, there := range []string{"", "/usr/bin/java", "/usr/lib/jvm/java-17/bin/java", "/opt/OpenJDK-21/bin/java", "/usr/local/openjdk-8/release"} {
		files := map[string]string{bundle: own.PEM, "/opt/other": "", "/usr/local/bin/tool": ""}
		if there != "" {
			files[there] = ""
		}
		root := image(t, files)
		store := func() string { return content(t, root)[javaFile] }
		want := javaStore(append(derOf(own.PEM), derOf(added.PEM)...))
		b := apply(t, root, c)
		if got := store(); got != map[bool]string{true: want}[there != ""] {
			t.Errorf("with %q the store has %d bytes at once, want %d", there, len(got), len(want))
		}
		finish(t, b)
		for range 2 { // the next boots
			if store() != want {
				t.Errorf("with %q the store is another", there)
			}
			finish(t, apply(t, root, c))
		}
		// The image's tool has made the bundle anew.
		write(t, root, bundle, own.PEM+more.PEM+added.PEM)
		finish(t, apply(t, root, c))
		if store() != javaStore(append(append(derOf(own.PEM), derOf(more.PEM)...), derOf(added.PEM)...)) {
			t.Errorf("with %q the store is not of the new bundle", there)
		}
		write(t, root, javaFile, "mine")
		write(t, root, bundle, own.PEM+added.PEM)
		finish(t, apply(t, root, c, map[bool][]string{true: {"it was changed in the guest"}}[there != ""]...))
		if store() != "mine" {
			t.Errorf("with %q the store that was changed in the guest is made anew", there)
		}
		if err := os.Remove(filepath.Join(root, javaFile)); err != nil {
			t.Fatal(err)
		}
		apply(t, root, c)
		finish(t, apply(t, root, Config{}))
		if store() != "" || content(t, root)[bundle] != own.PEM+added.PEM {
			t.Errorf("with %q and no certificates there is %v", there, content(t, root))
		}
	}
}
