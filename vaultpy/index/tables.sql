-- Written by `make docs` from schema.py.

CREATE TABLE blobs (
	id INTEGER NOT NULL,
	uuid BLOB NOT NULL,
	key_id BLOB NOT NULL,
	hash BLOB NOT NULL,
	raw_size INTEGER NOT NULL,
	stored_size INTEGER NOT NULL,
	uploaded_at INTEGER,
	upload_seconds INTEGER,
	run_no INTEGER,
	PRIMARY KEY (id),
	UNIQUE (uuid),
	UNIQUE (hash)
);
CREATE TABLE checks (
	object BLOB NOT NULL,
	read_at INTEGER,
	damage TEXT,
	found_at INTEGER,
	PRIMARY KEY (object)
)
 WITHOUT ROWID;
CREATE INDEX checks_damaged ON checks (object) WHERE damage IS NOT NULL;
CREATE TABLE chunks (
	id INTEGER NOT NULL,
	hash BLOB NOT NULL,
	size INTEGER NOT NULL,
	blob_id INTEGER NOT NULL,
	raw_offset INTEGER NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (hash)
);
CREATE INDEX chunks_by_blob ON chunks (blob_id);
CREATE TABLE exports (
	id BLOB NOT NULL,
	size INTEGER NOT NULL,
	raw_size INTEGER NOT NULL,
	blake3 BLOB NOT NULL,
	sha256 BLOB NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE TABLE files (
	id INTEGER NOT NULL,
	directory_id INTEGER NOT NULL,
	name BLOB NOT NULL,
	kind INTEGER NOT NULL,
	size INTEGER NOT NULL,
	mtime INTEGER NOT NULL,
	ctime INTEGER,
	inode INTEGER NOT NULL,
	device INTEGER NOT NULL,
	nlink INTEGER NOT NULL,
	mode INTEGER NOT NULL,
	owner_id INTEGER NOT NULL,
	chunk_id INTEGER,
	link_target BLOB,
	rdev INTEGER,
	flags INTEGER,
	btime INTEGER,
	holes BLOB,
	changed INTEGER,
	last_seq INTEGER,
	atime INTEGER,
	PRIMARY KEY (id)
);
CREATE INDEX files_by_chunk ON files (chunk_id) WHERE chunk_id IS NOT NULL;
CREATE INDEX files_by_inode ON files (inode) WHERE last_seq IS NULL AND chunk_id IS NOT NULL;
CREATE INDEX files_closed ON files (last_seq) WHERE last_seq IS NOT NULL;
CREATE INDEX files_live ON files (directory_id) WHERE last_seq IS NULL;
CREATE INDEX files_with_atime ON files (last_seq) WHERE atime IS NOT NULL;
CREATE TABLE foreign_manifests (
	id BLOB NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE TABLE meta (
	"key" TEXT NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY ("key")
)
 WITHOUT ROWID;
CREATE TABLE owners (
	id INTEGER NOT NULL,
	uid INTEGER NOT NULL,
	gid INTEGER NOT NULL,
	user BLOB,
	"group" BLOB,
	PRIMARY KEY (id)
);
CREATE INDEX owners_by_number ON owners (uid, gid);
CREATE TABLE sources (
	id INTEGER NOT NULL,
	uuid BLOB NOT NULL,
	name TEXT NOT NULL,
	host BLOB NOT NULL,
	key_id BLOB,
	PRIMARY KEY (id),
	UNIQUE (host, name),
	UNIQUE (uuid)
);
CREATE TABLE directories (
	id INTEGER NOT NULL,
	source_id INTEGER NOT NULL,
	parent_id INTEGER,
	name BLOB NOT NULL,
	last_seq INTEGER,
	PRIMARY KEY (id),
	FOREIGN KEY(source_id) REFERENCES sources (id)
);
CREATE INDEX directories_closed ON directories (last_seq) WHERE last_seq IS NOT NULL;
CREATE INDEX directories_live ON directories (parent_id) WHERE last_seq IS NULL;
CREATE INDEX directories_root ON directories (source_id) WHERE parent_id IS NULL;
CREATE TABLE file_chunks (
	file_id INTEGER NOT NULL,
	idx INTEGER NOT NULL,
	chunk_id INTEGER NOT NULL,
	PRIMARY KEY (file_id, idx),
	FOREIGN KEY(file_id) REFERENCES files (id) ON DELETE CASCADE
)
 WITHOUT ROWID;
CREATE INDEX file_chunks_by_chunk ON file_chunks (chunk_id);
CREATE TABLE runs (
	no INTEGER NOT NULL,
	source_id INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	prefix BLOB NOT NULL,
	next_id INTEGER DEFAULT 0 NOT NULL,
	PRIMARY KEY (no),
	FOREIGN KEY(source_id) REFERENCES sources (id),
	UNIQUE (prefix)
);
CREATE TABLE snapshot_blobs (
	source_id INTEGER NOT NULL,
	blob_id INTEGER NOT NULL,
	first_seq INTEGER NOT NULL,
	last_seq INTEGER,
	PRIMARY KEY (source_id, blob_id, first_seq),
	FOREIGN KEY(source_id) REFERENCES sources (id),
	FOREIGN KEY(blob_id) REFERENCES blobs (id)
)
 WITHOUT ROWID;
CREATE INDEX snapshot_blobs_live ON snapshot_blobs (source_id, blob_id) WHERE last_seq IS NULL;
CREATE TABLE snapshots (
	id BLOB NOT NULL,
	source_id INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	parent_id BLOB,
	repairs BLOB,
	state INTEGER NOT NULL,
	key_id BLOB NOT NULL,
	started_at INTEGER NOT NULL,
	completed_at INTEGER,
	version TEXT NOT NULL,
	tags TEXT DEFAULT '[]' NOT NULL,
	pinned INTEGER DEFAULT 0 NOT NULL,
	files INTEGER,
	bytes INTEGER,
	new_bytes INTEGER,
	stored_bytes INTEGER,
	problems INTEGER DEFAULT 0 NOT NULL,
	manifest BLOB,
	signature BLOB,
	PRIMARY KEY (id),
	FOREIGN KEY(source_id) REFERENCES sources (id)
)
 WITHOUT ROWID;
CREATE INDEX snapshots_by_seq ON snapshots (source_id, seq);
CREATE TABLE xattrs (
	file_id INTEGER NOT NULL,
	name BLOB NOT NULL,
	part INTEGER NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (file_id, name, part),
	FOREIGN KEY(file_id) REFERENCES files (id) ON DELETE CASCADE
)
 WITHOUT ROWID;
CREATE TABLE problems (
	snapshot_id BLOB NOT NULL,
	path BLOB NOT NULL,
	kind TEXT NOT NULL,
	detail TEXT NOT NULL,
	FOREIGN KEY(snapshot_id) REFERENCES snapshots (id) ON DELETE CASCADE
);
CREATE INDEX problems_by_snapshot ON problems (snapshot_id);
CREATE TABLE snapshot_exports (
	snapshot_id BLOB NOT NULL,
	position INTEGER NOT NULL,
	export_id BLOB NOT NULL,
	PRIMARY KEY (snapshot_id, position),
	FOREIGN KEY(snapshot_id) REFERENCES snapshots (id) ON DELETE CASCADE,
	FOREIGN KEY(export_id) REFERENCES exports (id)
)
 WITHOUT ROWID;
CREATE VIEW file_content AS
        SELECT id AS file_id, 0 AS idx, chunk_id FROM files WHERE chunk_id IS NOT NULL
        UNION ALL SELECT file_id, idx, chunk_id FROM file_chunks;
CREATE VIEW snapshot_files AS
        SELECT s.id AS snapshot_id, hex(r.prefix) || printf('%08X', f.id & 4294967295) AS file_uuid, f.*, r.seq AS first_seq
        FROM snapshots s JOIN directories d ON d.source_id = s.source_id
        JOIN files f ON f.directory_id = d.id JOIN runs r ON r.no = f.id >> 32
        WHERE r.seq <= s.seq AND (f.last_seq IS NULL OR f.last_seq >= s.seq);
CREATE VIEW chunk_files AS
        SELECT c.hash, t.idx, f.id AS file_id, hex(r.prefix) || printf('%08X', f.id & 4294967295) AS file_uuid,
        f.directory_id, f.name
        FROM chunks c JOIN file_content t ON t.chunk_id = c.id JOIN files f ON f.id = t.file_id
        JOIN runs r ON r.no = f.id >> 32;
CREATE VIEW uploads AS
        SELECT b.uuid, b.hash, b.raw_size, b.stored_size, b.uploaded_at, b.upload_seconds, r.source_id, r.seq
        FROM blobs b LEFT JOIN runs r ON r.no = b.run_no WHERE b.uploaded_at IS NOT NULL;
