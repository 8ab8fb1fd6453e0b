// Package store keeps the records of all VMs: in one SQLite file, and once more
// in each VM's directory (vm.json), so that either can be rebuilt from the
// other.
//
// Only bangerd opens the database, one process at a time (it holds the state
// directory's lock); inside it, a single connection makes every transaction
// the only writer. Nothing here decides what an event does: package vm does.
package store

import (
	"context"
	"database/sql"
	"embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"sort"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"banger/internal/hint"
	"banger/internal/vm"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Errors that callers branch on.
var (
	ErrNotFound  = errors.New("no such VM")
	ErrNameTaken = errors.New("name is taken")
	ErrNewer     = errors.New("written by a newer banger")
)

// AmbiguousError is an id prefix that several VMs share.
type AmbiguousError struct {
	Ref   string
	Names []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is the beginning of %d ids: %s", e.Ref, len(e.Names), strings.Join(e.Names, ", "))
}

// Store is the open database. Its methods may be called at once.
type Store struct {
	db *sql.DB
}

// Open opens the database at path, making it (mode 0600) where there is none,
// and brings its schema up to this program's. A file that a newer program
// wrote is refused with ErrNewer, untouched.
func Open(ctx context.Context, path string) (*Store, error) {
	newest, err := newestMigration()
	if err != nil {
		return nil, err
	}
	if err := checkHeader(path, newest); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	f.Close()
	q := url.Values{"_txlock": {"immediate"}}
	// busy_timeout first: setting WAL takes a lock.
	for _, p := range []string{"busy_timeout(5000)", "foreign_keys(1)", "synchronous(FULL)"} {
		q.Add("_pragma", p)
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	s := &Store{db}
	if err := s.migrate(ctx, newest); err != nil {
		db.Close()
		return nil, fmt.Errorf("open database %q: %w", path, err)
	}
	return s, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// checkHeader reads the user_version out of the file's header (sqlite.org,
// fileformat2, section 1.3) before SQLite has touched anything.
func checkHeader(path string, newest int) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer f.Close()
	var head [100]byte
	n, err := io.ReadFull(f, head[:])
	if n == 0 {
		return nil
	}
	if err != nil || string(head[:16]) != "SQLite format 3\x00" {
		return hint.Add(fmt.Errorf("%q is not a database", path),
			"move the file away: bangerd rebuilds it from the VMs' own records")
	}
	return checkVersion(path, int(binary.BigEndian.Uint32(head[60:64])), newest)
}

func checkVersion(path string, found, newest int) error {
	if found <= newest {
		return nil
	}
	return hint.Add(fmt.Errorf("database %q has format %d, this program knows %d: %w", path, found, newest, ErrNewer),
		"use the newer banger, or set XDG_STATE_HOME to another directory")
}

// newestMigration is the number of the last embedded migration; they are named
// 0001.sql, 0002.sql, … without a gap.
func newestMigration() (int, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, err
	}
	sort.Strings(names)
	for i, n := range names {
		if n != migrationName(i+1) {
			return 0, fmt.Errorf("migration %q should be %q", n, migrationName(i+1))
		}
	}
	return len(names), nil
}

func migrationName(n int) string { return fmt.Sprintf("migrations/%04d.sql", n) }

func (s *Store) migrate(ctx context.Context, newest int) error {
	var at int
	if err := s.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&at); err != nil {
		return err
	}
	// The header was older, but a log beside it may hold a newer version.
	if err := checkVersion("", at, newest); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, "PRAGMA journal_mode=WAL"); err != nil {
		return err
	}
	for n := at + 1; n <= newest; n++ {
		text, err := migrations.ReadFile(migrationName(n))
		if err != nil {
			return err
		}
		err = s.write(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, string(text)); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version=%d", n))
			return err
		})
		if err != nil {
			return fmt.Errorf("migrate to format %d: %w", n, err)
		}
	}
	return nil
}

// write runs do in one immediate transaction.
func (s *Store) write(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Insert adds a record and so reserves its name; a taken one is ErrNameTaken.
func (s *Store) Insert(ctx context.Context, r vm.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, "INSERT INTO vms (id, name, state, record, created_at) VALUES (?, ?, ?, ?, ?)",
		string(r.ID), r.Spec.Name, string(r.State), string(text), r.CreatedAt.UnixMilli())
	if se := (*sqlite.Error)(nil); errors.As(err, &se) && se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
		return fmt.Errorf("name %q: %w", r.Spec.Name, ErrNameTaken)
	}
	if err != nil {
		return fmt.Errorf("record VM %q: %w", r.Spec.Name, err)
	}
	return nil
}

// Save writes a record that is there already; one that is not is ErrNotFound.
func (s *Store) Save(ctx context.Context, r vm.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	res, err := s.db.ExecContext(ctx, "UPDATE vms SET name = ?, state = ?, record = ? WHERE id = ?",
		r.Spec.Name, string(r.State), string(text), string(r.ID))
	if err != nil {
		return fmt.Errorf("record VM %q: %w", r.Spec.Name, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(fmt.Errorf("record VM %q: %w", r.Spec.Name, ErrNotFound), err)
	}
	return nil
}

// Delete removes a record. One that is gone already is no error.
func (s *Store) Delete(ctx context.Context, id vm.ID) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM vms WHERE id = ?", string(id))
	return err
}

// List returns all records, the oldest first.
func (s *Store) List(ctx context.Context) ([]vm.Record, error) {
	return s.query(ctx, "SELECT record FROM vms ORDER BY created_at, id")
}

// Resolve returns the record that ref names: a name, an id, or the beginning
// of exactly one id. Names come first.
func (s *Store) Resolve(ctx context.Context, ref string) (vm.Record, error) {
	found, err := s.query(ctx, "SELECT record FROM vms WHERE name = ?1 OR (?1 <> '' AND substr(id, 1, length(?1)) = ?1) ORDER BY name <> ?1, created_at LIMIT 9", ref)
	switch {
	case err != nil:
		return vm.Record{}, err
	case len(found) == 0:
		return vm.Record{}, hint.Add(fmt.Errorf("%w: %q", ErrNotFound, ref), "banger vm list shows what there is")
	case len(found) == 1 || found[0].Spec.Name == ref || string(found[0].ID) == ref:
		return found[0], nil
	}
	amb := &AmbiguousError{Ref: ref}
	for _, r := range found {
		amb.Names = append(amb.Names, fmt.Sprintf("%s (%s)", r.ID, r.Spec.Name))
	}
	return vm.Record{}, hint.Add(amb, "type more digits of the id, or the VM's name")
}

func (s *Store) query(ctx context.Context, q string, args ...any) ([]vm.Record, error) {
	rows, err := s.db.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []vm.Record
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		r, err := decode([]byte(text))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}
