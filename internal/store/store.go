// Package store keeps the records of all VMs: in one SQLite file, and once more
// in each VM's directory (vm.json), so that either can be rebuilt from the other.
//
// Only bangerd opens the database, one process at a time (it holds the state
// directory's lock). Inside it a single connection makes every transaction the
// only writer. Nothing here decides what an event does: package vm does.
package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"banger/internal/vm"
)

// Errors that callers branch on.
var (
	ErrNotFound  = errors.New("no such VM")
	ErrNameTaken = errors.New("name is taken")
	// ErrNewer and ErrOlder are forms of another banger. Nothing is released yet,
	// so no older form is read.
	ErrNewer = errors.New("written by a newer banger")
	ErrOlder = errors.New("written by an earlier banger, whose form is no longer read")
	// ErrDamaged is a file that can't be read.
	ErrDamaged = errors.New("damaged")
)

// format is the database's user_version.
const format = vm.RecordFormat

// schema: one row a VM. The record is the whole truth; name and state stand beside
// it for the index, and for a person with a sqlite3 shell.
const schema = `CREATE TABLE vms (
	id         TEXT PRIMARY KEY CHECK (length(id) = 16),
	name       TEXT NOT NULL UNIQUE,
	state      TEXT NOT NULL,
	record     TEXT NOT NULL CHECK (json_valid(record)),
	created_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT`

// Store is the open database. Its methods may be called at once. Errors of the
// file system are found by errors.Is: unix.ENOSPC, EROFS, EIO.
type Store struct {
	path string

	mu       sync.Mutex // of the two below
	db       *sql.DB
	readOnly bool // opened so, because the file system took no write then
}

// Open opens the database at path, and makes it (mode 0600) if there is none. A
// file of another format is ErrNewer or ErrOlder, one that can't be read
// ErrDamaged; both are untouched. With no room, or on a file system that can't be
// written, it opens for reading, and each write tries again.
func Open(ctx context.Context, path string) (*Store, error) {
	s := &Store{path: path}
	err := s.open(ctx, false)
	if isFull(err) {
		if fi, statErr := os.Stat(path); statErr == nil && fi.Size() > 0 {
			err = s.open(ctx, true)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, readOnly bool) error {
	if err := checkHeader(s.path); err != nil {
		return err
	}
	if !readOnly {
		f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		f.Close()
	}
	q := url.Values{"_txlock": {"immediate"}}
	if readOnly {
		q.Set("mode", "ro")
		if fi, err := os.Stat(s.path + "-wal"); errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0 {
			q.Set("immutable", "1") // a log can't be opened, and there is nothing in it
		}
	}
	// busy_timeout first: setting WAL takes a lock.
	for _, p := range []string{"busy_timeout(5000)", "synchronous(FULL)"} {
		q.Add("_pragma", p)
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: s.path}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if err := s.prepare(ctx, db, readOnly); err != nil {
		db.Close()
		if errorCode(err) == codeError { // no such table or column, a form that SQLite does not know
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return s.classify(err)
	}
	s.db, s.readOnly = db, readOnly
	return nil
}

// prepare makes the schema of a new database, and looks whether all of an old one
// can be read.
func (s *Store) prepare(ctx context.Context, db *sql.DB, readOnly bool) error {
	var at, tables int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&at); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	if at == 0 && tables == 0 && !readOnly {
		return create(ctx, db)
	}
	// The header's version was checked; a log beside it may hold another.
	if err := s.checkVersion(at); err != nil {
		return err
	}
	return check(ctx, db)
}

func create(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode=WAL"); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, q := range []string{schema, fmt.Sprintf("PRAGMA user_version=%d", format)} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// check reads the whole database (sqlite.org, pragma quick_check). One row whose
// text is wrong is no damage to the others: List names it.
func check(ctx context.Context, db *sql.DB) error {
	var said string
	if _, err := db.ExecContext(ctx, "PRAGMA ignore_check_constraints=ON"); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&said); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "PRAGMA ignore_check_constraints=OFF"); err != nil {
		return err
	}
	if said != "ok" {
		return fmt.Errorf("%w: %.200s", ErrDamaged, said)
	}
	var n int
	return db.QueryRowContext(ctx, "SELECT count(*) FROM vms WHERE length(id) + length(name) + length(state) + length(record) + created_at > 0").Scan(&n)
}

// Close closes the database.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.Close()
}

// handle is the connection, opened anew for a write if the last opening was for
// reading alone.
func (s *Store) handle(ctx context.Context, write bool) (*sql.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if write && s.readOnly {
		old := s.db
		if err := s.open(ctx, false); err != nil {
			return nil, err
		}
		old.Close()
	}
	return s.db, nil
}

// exec runs one statement, a transaction of its own.
func (s *Store) exec(ctx context.Context, q string, args ...any) (int64, error) {
	db, err := s.handle(ctx, true)
	if err != nil {
		return 0, err
	}
	res, err := db.ExecContext(ctx, q, args...)
	if err != nil {
		return 0, s.classify(err)
	}
	return res.RowsAffected()
}

// Insert adds a record and so reserves its name; a taken one is ErrNameTaken.
func (s *Store) Insert(ctx context.Context, r vm.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, "INSERT INTO vms (id, name, state, record, created_at) VALUES (?, ?, ?, ?, ?)",
		string(r.ID), r.Spec.Name, string(r.State), string(text), r.CreatedAt.UnixMilli())
	return named(r, err)
}

// InsertRestored adds a record whose row was lost or can't be read, under another
// name if its own is taken, and returns it as it is now.
func (s *Store) InsertRestored(ctx context.Context, r vm.Record) (vm.Record, error) {
	if err := s.Delete(ctx, r.ID); err != nil {
		return r, err
	}
	err := s.Insert(ctx, r)
	if errors.Is(err, ErrNameTaken) {
		suffix := "-" + string(r.ID)
		r.Spec.Name = r.Spec.Name[:min(len(r.Spec.Name), vm.MaxNameLen-len(suffix))] + suffix
		err = s.Insert(ctx, r)
	}
	return r, err
}

// Save writes a record that is there already; one that is not is ErrNotFound, and
// a name that another has ErrNameTaken.
func (s *Store) Save(ctx context.Context, r vm.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	n, err := s.exec(ctx, "UPDATE vms SET name = ?, state = ?, record = ? WHERE id = ?", r.Spec.Name, string(r.State), string(text), string(r.ID))
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return named(r, err)
}

// named says which VM could not be recorded.
func named(r vm.Record, err error) error {
	switch {
	case err == nil:
		return nil
	case isTaken(err):
		return fmt.Errorf("name %q: %w", r.Spec.Name, ErrNameTaken)
	}
	return fmt.Errorf("record VM %q: %w", r.Spec.Name, err)
}

// Delete removes a record. One that is gone already is no error.
func (s *Store) Delete(ctx context.Context, id vm.ID) error {
	_, err := s.exec(ctx, "DELETE FROM vms WHERE id = ?", string(id))
	return err
}

// List returns all records, the oldest first, and a line for each row that can't
// be read.
func (s *Store) List(ctx context.Context) (list []vm.Record, bad []string, err error) {
	db, err := s.handle(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT id, record FROM vms ORDER BY created_at, id")
	if err != nil {
		return nil, nil, s.classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, text string
		if err := rows.Scan(&id, &text); err != nil {
			return nil, nil, s.classify(err)
		}
		r, err := decode([]byte(text))
		if err == nil && string(r.ID) != id {
			err = fmt.Errorf("its record is of VM %q", r.ID)
		}
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", id, err))
			continue
		}
		list = append(list, r)
	}
	return list, bad, s.classify(rows.Err())
}

// dir is the state directory, for advice.
func (s *Store) dir() string { return filepath.Dir(s.path) }
