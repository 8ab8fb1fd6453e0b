package daemon

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"banger/internal/api"
	"banger/internal/disk"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/kernel"
	"banger/internal/paths"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

func (d *Daemon) serveDaemon(w http.ResponseWriter, _ *http.Request) error {
	a := api.Daemon{
		Version: api.ProgramVersion(), API: api.Version, PID: os.Getpid(), StartedAt: d.started,
		Socket: d.cfg.Dirs.Socket(), StateDir: d.cfg.Dirs.State, CacheDir: d.cfg.Dirs.Cache,
		LogFile: d.cfg.Dirs.DaemonLog(), RSSKiB: process.RSSKiB(os.Getpid()),
	}
	for _, m := range d.all() {
		a.VMs++
		if v, _ := m.view(); v.rec.State == vm.Running {
			a.Running++
		}
	}
	return answer(w, a)
}

func (d *Daemon) serveStopDaemon(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusAccepted)
	http.NewResponseController(w).Flush()
	d.Quit()
	return nil
}

func (d *Daemon) serveList(w http.ResponseWriter, r *http.Request) error {
	recs, err := d.store.List(r.Context())
	if err != nil {
		return err
	}
	out := make([]api.VM, 0, len(recs))
	for _, rec := range recs {
		out = append(out, d.show(d.current(rec)))
	}
	return answer(w, out)
}

func (d *Daemon) serveShow(w http.ResponseWriter, r *http.Request) error {
	rec, err := d.store.Resolve(r.Context(), r.PathValue("ref"))
	if err != nil {
		return err
	}
	return answer(w, d.show(d.current(rec)))
}

func (d *Daemon) show(rec vm.Record) api.VM {
	dir := d.cfg.Dirs.VM(rec.ID)
	out := api.VM{Record: rec, Dir: dir}
	out.DiskUsedBytes, _ = disk.Used(dir + "/" + paths.DiskFile)
	if rec.State.Live() && rec.Accel != "kvm" {
		out.Notes = append(out.Notes, "emulated, about ten times slower than with KVM: "+rec.Why)
	}
	for _, g := range rec.Gaps {
		out.Notes = append(out.Notes, "confinement: "+g)
	}
	return out
}

func (d *Daemon) serveCreate(w http.ResponseWriter, r *http.Request) error {
	var req api.Create
	if err := decode(r, &req); err != nil {
		return err
	}
	pid, _ := r.Context().Value(keyPeer).(int32)
	return long(w, r, func(step progress.Func) (any, error) {
		v, err := d.Create(r.Context(), req, holderOf(pid), step)
		return d.show(v.rec), err
	})
}

func (d *Daemon) serveStart(w http.ResponseWriter, r *http.Request) error {
	m, err := d.resolve(r.Context(), r.PathValue("ref"))
	if err != nil {
		return err
	}
	return long(w, r, func(step progress.Func) (any, error) {
		v, err := d.Start(r.Context(), m, step)
		return d.show(v.rec), err
	})
}

func (d *Daemon) serveStop(w http.ResponseWriter, r *http.Request) error {
	m, err := d.resolve(r.Context(), r.PathValue("ref"))
	if err != nil {
		return err
	}
	return long(w, r, func(step progress.Func) (any, error) {
		v, err := d.Stop(r.Context(), m, supervisor.Stop{}, step)
		return d.show(v.rec), err
	})
}

func (d *Daemon) serveDelete(w http.ResponseWriter, r *http.Request) error {
	m, err := d.resolve(r.Context(), r.PathValue("ref"))
	if err != nil {
		return err
	}
	return long(w, r, func(step progress.Func) (any, error) {
		v, _ := m.view()
		err := d.Delete(r.Context(), m, r.URL.Query().Get("force") == "true", step)
		return d.show(v.rec), err
	})
}

func (d *Daemon) serveKeep(w http.ResponseWriter, r *http.Request) error {
	m, err := d.resolve(r.Context(), r.PathValue("ref"))
	if err != nil {
		return err
	}
	if err := d.Keep(m); err != nil {
		return err
	}
	v, _ := m.view()
	return answer(w, d.show(v.rec))
}

func (d *Daemon) serveLogs(w http.ResponseWriter, r *http.Request) error {
	m, err := d.resolve(r.Context(), r.PathValue("ref"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &flushed{w: w, rc: http.NewResponseController(w)}
	v, _ := m.view()
	if v.rec.State.Live() {
		client := supervisor.NewClient(d.cfg.Dirs.VMRun(m.id))
		err = client.Console(r.Context(), out, r.URL.Query().Get("follow") == "true")
		if out.wrote || err == nil || r.Context().Err() != nil {
			return nil // an answer under way can't become a fault
		}
	}
	supervisor.CopyConsole(out, d.cfg.Dirs.VM(m.id))
	return nil
}

// flushed passes each write on at once.
type flushed struct {
	w     io.Writer
	rc    *http.ResponseController
	wrote bool
}

func (f *flushed) Write(p []byte) (int, error) {
	f.wrote = true
	n, err := f.w.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}

func (d *Daemon) serveSession(w http.ResponseWriter, r *http.Request) error {
	m, err := d.resolve(r.Context(), r.PathValue("ref"))
	if err != nil {
		return err
	}
	v, _ := m.view()
	if v.rec.State != vm.Running {
		return hint.Add(&stateError{v.rec.Spec.Name, v.rec.State, "entered"}, "banger vm start "+v.rec.Spec.Name)
	}
	return answer(w, api.Session{ID: m.id, Name: v.rec.Spec.Name, Socket: supervisor.SocketPath(d.cfg.Dirs.VMRun(m.id))})
}

func (d *Daemon) serveImages(w http.ResponseWriter, _ *http.Request) error {
	list, err := d.images.List()
	if err != nil {
		return err
	}
	out := make([]api.Image, 0, len(list))
	for _, i := range list {
		out = append(out, showImage(i))
	}
	return answer(w, out)
}

func showImage(i image.Image) api.Image {
	return api.Image{Ref: i.Ref, Digest: i.Digest, SizeBytes: i.SizeBytes, CreatedAt: i.CreatedAt,
		Source: i.Source, Default: i.Ref == vm.DefImage, Path: i.Path}
}

func (d *Daemon) serveImageBuild(w http.ResponseWriter, r *http.Request) error {
	var req api.ImageBuild
	if err := decode(r, &req); err != nil {
		return err
	}
	fill(&req.Ref, vm.DefImage)
	return long(w, r, func(step progress.Func) (any, error) {
		i, err := d.images.Build(r.Context(), req.Ref, step)
		return showImage(i), err
	})
}

func (d *Daemon) serveKernels(w http.ResponseWriter, _ *http.Request) error {
	list, err := d.kernels.List()
	if err != nil {
		return err
	}
	out := make([]api.Kernel, 0, len(list))
	for _, k := range list {
		out = append(out, showKernel(k))
	}
	return answer(w, out)
}

func showKernel(k kernel.Kernel) api.Kernel {
	return api.Kernel{Ref: k.Ref, Digest: k.Digest, Release: k.Release, SizeBytes: k.SizeBytes, CreatedAt: k.CreatedAt,
		Source: k.Source, Default: k.Ref == vm.DefKernel, Path: k.Dir}
}

func (d *Daemon) serveKernelPull(w http.ResponseWriter, r *http.Request) error {
	var req api.KernelPull
	if err := decode(r, &req); err != nil {
		return err
	}
	fill(&req.Ref, vm.DefKernel)
	return long(w, r, func(step progress.Func) (any, error) {
		k, err := d.kernels.Pull(r.Context(), req.Ref, step)
		return showKernel(k), err
	})
}

func (d *Daemon) serveTrash(w http.ResponseWriter, _ *http.Request) error {
	list, err := d.trash.List()
	if err != nil {
		return err
	}
	out := make([]api.TrashEntry, 0, len(list))
	for _, e := range list {
		out = append(out, api.TrashEntry{ID: vm.ID(e.ID), Name: e.Name, DeletedAt: e.DeletedAt.Truncate(time.Second), UsedBytes: e.UsedBytes})
	}
	return answer(w, out)
}

func (d *Daemon) serveTrashEmpty(w http.ResponseWriter, _ *http.Request) error {
	n, bytes, err := d.trash.Empty()
	if err != nil {
		return fmt.Errorf("empty the trash: %w", err)
	}
	return answer(w, api.TrashEmptied{Entries: n, UsedBytes: bytes})
}
