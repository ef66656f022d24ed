-- The log and what stands beside it. Times are microseconds since the epoch.

-- One row: who the log is, how far it goes, how often it was opened.
CREATE TABLE log (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    origin       TEXT    NOT NULL,
    verifier_key TEXT    NOT NULL,
    epoch        INTEGER NOT NULL,
    size         INTEGER NOT NULL
) STRICT;

CREATE TABLE event (
    position  INTEGER PRIMARY KEY,
    namespace TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    sequence  INTEGER NOT NULL,
    record    BLOB    NOT NULL,
    leaf      BLOB    NOT NULL,
    UNIQUE (namespace, operation, sequence)
) STRICT;

-- Inner nodes of the log's tree, one level in eight.
CREATE TABLE node (
    level    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE seal (
    size INTEGER PRIMARY KEY,
    note TEXT    NOT NULL
) STRICT;

-- What is written stays as it was written. Whoever gets around this is found out by the seals.
CREATE TRIGGER event_is_not_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;

CREATE TRIGGER event_is_not_deleted BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'an event is never deleted'); END;

CREATE TRIGGER seal_is_not_changed BEFORE UPDATE ON seal
BEGIN SELECT RAISE(ABORT, 'a seal is never changed'); END;

CREATE TRIGGER seal_is_not_deleted BEFORE DELETE ON seal
BEGIN SELECT RAISE(ABORT, 'a seal is never deleted'); END;

-- Without rowid: a payload is found by its place alone, and one tree costs half of two.
CREATE TABLE payload (
    namespace TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    sequence  INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    sealed    BLOB    NOT NULL,
    PRIMARY KEY (namespace, operation, sequence, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE operation (
    namespace       TEXT    NOT NULL,
    operation       TEXT    NOT NULL,
    definition      TEXT    NOT NULL,
    digest          TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    revision        INTEGER NOT NULL,
    sequence        INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    due_at          INTEGER,
    awaits          TEXT    NOT NULL,
    awaits_who      TEXT    NOT NULL,
    awaits_name     TEXT    NOT NULL,
    awaits_instance INTEGER NOT NULL,
    awaits_since    INTEGER,
    session         TEXT,
    claimed_by      TEXT,
    assigned_to     TEXT,
    alarms          TEXT,
    started_by      TEXT    NOT NULL,
    key             TEXT,
    labels          TEXT    NOT NULL,
    requested_by    TEXT,
    person          TEXT,
    head            BLOB    NOT NULL,
    payload_key     BLOB,
    PRIMARY KEY (namespace, operation)
) STRICT;

-- An update rewrites only the indexes that name a column it sets, so each of these names as few as it can.
CREATE INDEX operation_by_start ON operation (namespace, started_at, operation);
CREATE INDEX operation_by_state ON operation (namespace, state, started_at, operation);
CREATE INDEX operation_by_key ON operation (namespace, key) WHERE key IS NOT NULL;
CREATE INDEX operation_due ON operation (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX operation_queued ON operation (namespace, awaits_who, awaits_since) WHERE awaits = 'worker';
CREATE INDEX operation_pending ON operation (namespace, awaits_since, operation) WHERE awaits = 'decision';
CREATE INDEX operation_called ON operation (namespace, operation) WHERE session IS NOT NULL;
CREATE INDEX operation_alarmed ON operation (namespace, operation) WHERE alarms IS NOT NULL;

CREATE TABLE label (
    namespace TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (namespace, key, value, operation)
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
    namespace  TEXT    NOT NULL,
    principal  TEXT    NOT NULL,
    rpc        TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    operation  TEXT    NOT NULL,
    sequence   INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    PRIMARY KEY (namespace, principal, rpc, request_id)
) STRICT, WITHOUT ROWID;
