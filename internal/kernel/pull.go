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
	"banger/internal/progress"
	"banger/internal/unpack"
)

// hook makes modules.dep and its kin, in the index form that modprobe reads: the
// package's own script would when it is installed. Then it writes the modules' disk
// beside them. Both programs are of the tree, that is Debian's for that kernel, and run
// inside the namespace, where the files are root's. mke2fs takes over when the tree was
// unpacked; debugfs writes one time instead, so that a kernel that is pulled again is the
// same bytes. Inodes are taken in order: 2 is the root, 11 lost+found.
const hook = `set -eu
for d in "$1"/lib/modules/*/; do
	release=$(basename "$d")
	chroot "$1" depmod "$release"
	rm -f "$d/build" "$d/source" # links to headers that are not here
	n=$(find "$d" | wc -l)
	kib=$(du -sk --apparent-size "$d" | cut -f 1)
	id=62616e67-6572-8000-8000-000000000000
	export MKE2FS_CONFIG=/dev/null E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH"
	chroot "$1" mke2fs -q -F -t ext4 -b 4096 -I 256 -m 0 -N $((n + 64)) -U $id -E nodiscard,root_owner=0:0,hash_seed=$id \
		-O none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
		-d "/lib/modules/$release" /` + modulesFile + ` $((kib + kib / 8 + n * 8 + 4096))k
	for i in 2 $(seq 11 $((n + 10))); do
		for t in atime ctime mtime; do echo "set_inode_field <$i> $t @$SOURCE_DATE_EPOCH"; done
	done | chroot "$1" debugfs -w -f - /` + modulesFile + ` >/dev/null
done`

func pull(ctx context.Context, tmp string, step progress.Func) (meta, error) {
	step(progress.Step{Stage: stage, Text: "pulling Debian's cloud kernel"})
	var release string
	err := debian.Tar(ctx, debian.Request{
		Variant: "extract", Include: []string{packageName, "kmod", "e2fsprogs"}, Hooks: []string{hook},
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

// build makes a kernel's files in dir from the tree of its package, a tar, which has the
// modules' disk too.
func build(ctx context.Context, r io.Reader, dir string) (release string, err error) {
	spool, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return "", err
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil { // it lives as long as it is open
		return "", err
	}
	p := parts{files: map[string]*io.SectionReader{}, spool: spool, disk: filepath.Join(dir, modulesFile)}
	if err := p.collect(ctx, tar.NewReader(r)); err != nil {
		return "", err
	}
	err = createSynced(filepath.Join(dir, vmlinuxFile), func(w *os.File) error { return extractVmlinux(p.vmlinuz, w) })
	if err != nil {
		return "", err
	}
	err = createSynced(filepath.Join(dir, bootFile), func(w *os.File) error { return p.writeBootModules(w) })
	return p.release, err
}

func createSynced(name string, write func(*os.File) error) error {
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
	disk  string // path at which the modules' disk is written
	disks int
}

// Limits of a tree.
const (
	modulesDir = "lib/modules/"
	maxFiles   = 50_000
	maxTree    = 4 << 30
)

// collect reads the tree, keeps what the initramfs is made of, and writes the modules'
// disk.
func (p *parts) collect(ctx context.Context, in *tar.Reader) error {
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = p.take(h, in)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case p.release == "" || p.vmlinuz == nil:
		return errors.New("package has no kernel or no modules")
	case p.disks == 0:
		return errors.New("tree has no " + modulesFile + ": its hook has not run")
	}
	return nil
}

// take takes what it needs of one entry.
func (p *parts) take(h *tar.Header, in io.Reader) error {
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
		return nil
	}
	regular := h.Typeflag == tar.TypeReg
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	name = strings.TrimPrefix(name, "usr/") // a merged /usr
	switch {
	case name == modulesFile && regular:
		return p.takeDisk(h, in)
	case strings.HasPrefix(name, "boot/vmlinuz-") && regular:
		return p.takeKernel(h, in)
	}
	below, ok := strings.CutPrefix(name, modulesDir)
	if !ok || below == "" {
		return nil
	}
	release, file, _ := strings.Cut(below, "/")
	if p.release == "" {
		p.release = release
	}
	if release != p.release {
		return fmt.Errorf("package has modules of two kernels: %q and %q", p.release, release)
	}
	if !regular {
		return nil
	}
	if len(p.files) >= maxFiles || p.end+h.Size > maxTree {
		return errors.New("package has too many modules")
	}
	n, err := io.Copy(p.spool, in)
	if err != nil {
		return err
	}
	p.files[file] = io.NewSectionReader(p.spool, p.end, n)
	p.end += n
	return nil
}

func (p *parts) takeDisk(h *tar.Header, in io.Reader) error {
	if p.disks++; p.disks > 1 || h.Size > maxTree {
		return fmt.Errorf("tree has %d disks of modules, of %d bytes: the most is one of %d", p.disks, h.Size, int64(maxTree))
	}
	return createSynced(p.disk, func(w *os.File) error {
		_, err := unpack.Sparse(int(w.Fd()), in, make([]byte, 256<<10))
		return err
	})
}

func (p *parts) takeKernel(h *tar.Header, in io.Reader) error {
	if p.vmlinuz != nil {
		return errors.New("package has two kernels")
	}
	if h.Size > maxImage {
		return fmt.Errorf("%q has %d bytes: the most is %d", h.Name, h.Size, maxImage)
	}
	p.vmlinuz = make([]byte, h.Size)
	_, err := io.ReadFull(in, p.vmlinuz)
	return err
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
