-- One row a VM. The record is the whole truth; name and state stand beside it
-- for the index and for a person with a sqlite3 shell.
CREATE TABLE vms (
	id         TEXT PRIMARY KEY CHECK (length(id) = 16),
	name       TEXT NOT NULL UNIQUE,
	state      TEXT NOT NULL,
	record     TEXT NOT NULL CHECK (json_valid(record)),
	created_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT;
