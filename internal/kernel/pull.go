package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/debian"
	"banger/internal/ext4"
	"banger/internal/progress"
)

// depmodHook makes modules.dep and its kin, in the index form that modprobe
// reads: the package's own script would when it is installed. The depmod is
// the one of the tree, that is Debian's for that kernel, and runs inside the
// namespace.
const depmodHook = `for d in "$1"/lib/modules/*/; do chroot "$1" depmod "$(basename "$d")"; done`

func pull(ctx context.Context, tmp string, step progress.Func) (meta, error) {
	step(progress.Step{Stage: stage, Text: "pulling Debian's cloud kernel"})
	var release string
	err := debian.Tar(ctx, debian.Request{
		Variant: "extract", Include: []string{packageName, "kmod"}, Hooks: []string{depmodHook},
		SpaceMiB: treeMiB, Note: filepath.Join(tmp, noteFile), Stage: stage, Step: step,
	}, func(r io.Reader) error {
		var err error
		release, err = build(ctx, r, tmp)
		return err
	})
	if err != nil {
		return meta{}, err
	}
	return meta{Format: format, Release: release, CreatedAt: time.Now().UTC().Truncate(time.Second),
		Source: "Debian " + debian.Suite + ", " + packageName}, nil
}

// build makes a kernel's files in dir from the tree of its package, a tar.
func build(ctx context.Context, r io.Reader, dir string) (release string, err error) {
	spool, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return "", err
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil { // it lives as long as it is open
		return "", err
	}
	p := parts{files: map[string]*io.SectionReader{}, spool: spool}
	if err := p.collect(ctx, r, filepath.Join(dir, modulesFile)); err != nil {
		return "", err
	}
	err = createSynced(filepath.Join(dir, vmlinuxFile), func(w io.Writer) error { return extractVmlinux(p.vmlinuz, w) })
	if err != nil {
		return "", err
	}
	err = createSynced(filepath.Join(dir, bootFile), p.writeBootModules)
	return p.release, err
}

func createSynced(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// parts are what is taken out of the package's tree.
type parts struct {
	release string
	vmlinuz []byte
	// files are the modules and their lists, by path below the release's
	// directory. Their order in the tree is nobody's, so all are spooled: a
	// module that others need may come before modules.dep says so.
	files map[string]*io.SectionReader
	spool *os.File
	end   int64
}

// Limits of a tree.
const (
	modulesDir = "lib/modules/"
	maxFiles   = 50_000
	maxTree    = 4 << 30
)

// collect reads the tree, keeps what the initramfs is made of, and writes the
// release's modules to disk, a new file, as a file system of their own.
func (p *parts) collect(ctx context.Context, r io.Reader, disk string) error {
	f, err := os.OpenFile(disk, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { // ends with the pipe, which sort's end closes
		_, err := ext4.Write(ctx, pr, f)
		pr.CloseWithError(err)
		done <- err
	}()
	out := tar.NewWriter(pw)
	err = p.sort(tar.NewReader(r), out)
	if err == nil {
		err = out.Close()
	}
	if err == nil && (p.release == "" || p.vmlinuz == nil) {
		err = errors.New("package has no kernel or no modules")
	}
	pw.CloseWithError(err)
	if werr := <-done; werr != nil {
		return werr // or err itself, seen through the pipe
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

// sort passes the modules' part of the tree on, relative to the release's
// directory.
func (p *parts) sort(in *tar.Reader, modules *tar.Writer) error {
	for {
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		name = strings.TrimPrefix(name, "usr/") // a merged /usr
		if strings.HasPrefix(name, "boot/vmlinuz-") && h.Typeflag == tar.TypeReg {
			if p.vmlinuz != nil {
				return errors.New("package has two kernels")
			}
			if h.Size > maxImage {
				return fmt.Errorf("%q has %d bytes: the most is %d", h.Name, h.Size, maxImage)
			}
			p.vmlinuz = make([]byte, h.Size)
			if _, err := io.ReadFull(in, p.vmlinuz); err != nil {
				return err
			}
			continue
		}
		below, ok := strings.CutPrefix(name, modulesDir)
		if !ok || below == "" {
			continue
		}
		release, file, _ := strings.Cut(below, "/")
		if p.release == "" {
			p.release = release
		}
		if release != p.release {
			return fmt.Errorf("package has modules of two kernels: %q and %q", p.release, release)
		}
		if file == "build" || file == "source" {
			continue // links to headers that are not here
		}
		if err := p.pass(h, file, in, modules); err != nil {
			return err
		}
	}
}

// pass writes one entry to the modules' tar, and a file to the spool too.
func (p *parts) pass(h *tar.Header, file string, in io.Reader, modules *tar.Writer) error {
	regular := h.Typeflag == tar.TypeReg
	h.Name = "./" + file
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if err := modules.WriteHeader(h); err != nil {
		return err
	}
	if !regular {
		return nil
	}
	if len(p.files) >= maxFiles || p.end+h.Size > maxTree {
		return errors.New("package has too many modules")
	}
	n, err := io.Copy(io.MultiWriter(modules, p.spool), in)
	if err != nil {
		return err
	}
	p.files[file] = io.NewSectionReader(p.spool, p.end, n)
	p.end += n
	return nil
}

// read returns a spooled file, nil where there is none.
func (p *parts) read(file string) ([]byte, error) {
	r := p.files[file]
	if r == nil {
		return nil, nil
	}
	if r.Size() > maxModule {
		return nil, fmt.Errorf("%q has %d bytes: the most is %d", file, r.Size(), maxModule)
	}
	b := make([]byte, r.Size())
	_, err := r.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b, err
}

// writeBootModules writes the part of the initramfs that all agents share:
// directories, /modules/NN-name.ko in the order of loading, and /modules/order,
// their names, one a line.
func (p *parts) writeBootModules(w io.Writer) error {
	dep, err := p.read("modules.dep")
	if err != nil {
		return err
	}
	builtin, err := p.read("modules.builtin")
	if err != nil {
		return err
	}
	if dep == nil || p.files["modules.dep.bin"] == nil {
		return errors.New("package has no modules.dep: depmod has not run")
	}
	order, err := loadOrder(dep, builtin, bootModules)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	c := &newc{w: &b}
	for _, d := range []string{"dev", "proc", "sys", "run", "newroot", "modules"} {
		c.add(newcEntry{name: d, mode: modeDir})
	}
	c.add(newcEntry{name: "dev/console", mode: modeChar, major: 5, minor: 1})
	var list strings.Builder
	for i, file := range order {
		packed, err := p.read(file)
		if err != nil {
			return err
		}
		if packed == nil {
			return fmt.Errorf("package has no %q, which its modules.dep names", file)
		}
		elf, err := unpackModule(file, packed)
		if err != nil {
			return err
		}
		ko := fmt.Sprintf("%02d-%s.ko", i, moduleName(file))
		c.add(newcEntry{name: "modules/" + ko, mode: modeFile, data: elf})
		list.WriteString(ko + "\n")
	}
	c.add(newcEntry{name: "modules/order", mode: modeFile, data: []byte(list.String())})
	if err := c.close(); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}
