-- Finding operations among a million: every list is answered by an index, in its order; what is counted often is kept.

-- Rows get a number of their own, in the order in which they were recorded. It ends every index below, so that times
-- that are the same have an order, and it stays the same when the file is rewritten.
CREATE TABLE operation_with_number (
    number          INTEGER PRIMARY KEY,
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
    words           TEXT    NOT NULL,
    head            BLOB    NOT NULL,
    payload_key     BLOB,
    UNIQUE (namespace, operation)
) STRICT;

INSERT INTO operation_with_number
SELECT rowid, namespace, operation, definition, digest, state, revision, sequence, started_at, updated_at, ended_at,
       due_at, awaits, awaits_who, awaits_name, awaits_instance, awaits_since, session, claimed_by, assigned_to, alarms,
       started_by, key, labels, requested_by, person, words_of_row(key, requested_by, labels), head,
       payload_key
FROM operation ORDER BY rowid;

DROP TABLE operation;
ALTER TABLE operation_with_number RENAME TO operation;

-- An update rewrites only the indexes that name a column it sets, or whose condition does. Most of these are written
-- once, at the start; by_update is the only one that every append writes.
CREATE INDEX operation_by_start ON operation (namespace, started_at);
CREATE INDEX operation_by_update ON operation (namespace, updated_at);
CREATE INDEX operation_by_end ON operation (namespace, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX operation_due ON operation (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX operation_by_state ON operation (namespace, state, started_at);
CREATE INDEX operation_by_definition ON operation (namespace, definition, started_at);
CREATE INDEX operation_by_key ON operation (namespace, key, started_at) WHERE key IS NOT NULL;
CREATE INDEX operation_by_starter ON operation (namespace, started_by, started_at);
CREATE INDEX operation_by_requester ON operation (namespace, requested_by, started_at) WHERE requested_by IS NOT NULL;
CREATE INDEX operation_queued ON operation (namespace, awaits_who, awaits_since) WHERE awaits = 'worker';
CREATE INDEX operation_pending ON operation (namespace, awaits_since, operation) WHERE awaits = 'decision';
CREATE INDEX operation_by_decider ON operation (namespace, awaits_who, started_at) WHERE awaits = 'decision';
CREATE INDEX operation_in_trouble ON operation (namespace, awaits_who, started_at) WHERE awaits IN ('clock', 'operator');
CREATE INDEX operation_called ON operation (namespace, operation) WHERE session IS NOT NULL;
CREATE INDEX operation_by_claimant ON operation (namespace, claimed_by, started_at) WHERE claimed_by IS NOT NULL;
CREATE INDEX operation_by_assignee ON operation (namespace, assigned_to, started_at) WHERE assigned_to IS NOT NULL;
CREATE INDEX operation_alarmed ON operation (namespace, operation) WHERE alarms IS NOT NULL;
CREATE INDEX operation_by_alarm ON operation (namespace, started_at) WHERE alarms IS NOT NULL;

-- Labels and words are found by their value, in the order of starts.
CREATE TABLE label_in_order (
    namespace  TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    PRIMARY KEY (namespace, key, value, started_at, number)
) STRICT, WITHOUT ROWID;

INSERT INTO label_in_order
SELECT label.namespace, label.key, label.value, operation.started_at, operation.number
FROM label JOIN operation USING (namespace, operation);

DROP TABLE label;
ALTER TABLE label_in_order RENAME TO label;

CREATE TABLE word (
    namespace  TEXT    NOT NULL,
    word       TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    PRIMARY KEY (namespace, word, number)
) STRICT, WITHOUT ROWID;

-- Words are letters and digits, so that this is JSON.
INSERT INTO word
SELECT operation.namespace, each.value, operation.number
FROM operation, json_each('["' || replace(trim(operation.words), ' ', '","') || '"]') AS each
WHERE operation.words <> '';

-- How many there are, kept by the same transaction that changes it: at the start, at the end, and seldom between. A
-- count that has come to nothing stays, as 0.
CREATE TABLE tally (
    namespace  TEXT    NOT NULL,
    definition TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (namespace, definition, state)
) STRICT, WITHOUT ROWID;

INSERT INTO tally SELECT namespace, definition, state, count(*) FROM operation GROUP BY 1, 2, 3;
